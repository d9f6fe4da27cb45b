// Keys that work everywhere on the page, and the scroll position that follows the newest words.

const root = document.documentElement;
const down = /** @type {HTMLElement} */ (document.querySelector("[data-action=scroll-down]"));

/** Whether the reader is at the end and wants to stay there. */
let following = true;

const distance = () => root.scrollHeight - innerHeight - scrollY;

addEventListener("scroll", () => {
  root.classList.toggle("scrolled", scrollY > 4);
  following = distance() < 48;
  down.hidden = following;
}, { passive: true });

/** New words have appeared. */
export function follow() {
  if (following) scrollTo(0, root.scrollHeight);
  else down.hidden = distance() < 48;
}

/** Goes to the end and stays there. */
export function scrollDown() {
  following = true;
  down.hidden = true;
  scrollTo(0, root.scrollHeight);
}

/**
 * @param {{stop: () => boolean, newChat: () => void}} handlers `stop` tells whether there was
 *   something to stop.
 */
export function connect(handlers) {
  addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.isComposing) return;
    if (event.key === "Escape" && handlers.stop()) {
      event.preventDefault();
    } else if (event.ctrlKey && event.shiftKey && event.code === "KeyO") {
      event.preventDefault();
      handlers.newChat();
    }
  });
}
