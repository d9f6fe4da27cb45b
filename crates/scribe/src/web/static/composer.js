// The box in which messages are written.

const form = /** @type {HTMLFormElement} */ (document.getElementById("composer"));
const box = /** @type {HTMLTextAreaElement} */ (document.getElementById("prompt"));
const send = /** @type {HTMLButtonElement} */ (form.querySelector(".send"));
const stop = /** @type {HTMLButtonElement} */ (form.querySelector(".stop"));

const problem = /** @type {HTMLElement} */ (form.querySelector(".problem"));

let busy = false;

/**
 * Says what to do with a message, and with ↑ in an empty box.
 * @param {{send: (text: string) => void, editLast: () => void}} handlers
 */
export function connect(handlers) {
  const submit = () => {
    const text = box.value.trim();
    if (busy || !text) return;
    setDraft("");
    problem.hidden = true;
    handlers.send(text);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  box.addEventListener("keydown", (event) => {
    // While an input method is open, Enter belongs to it.
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && box.value === "" && !busy) {
      event.preventDefault();
      handlers.editLast();
    }
  });
  box.addEventListener("input", refresh);
  refresh();
  focus();
}

/** @param {boolean} value whether an answer is being written */
export function setBusy(value) {
  // A button that goes away must not take the focus with it.
  const hadFocus = document.activeElement === send || document.activeElement === stop;
  busy = value;
  stop.hidden = !value;
  send.hidden = value;
  if (hadFocus) focus();
  refresh();
}

/** @param {string} text */
export function setDraft(text) {
  box.value = text;
  refresh();
}

/**
 * Gives a message back that the server will never take, and says why.
 * @param {string} text
 * @param {string} why
 */
export function giveBack(text, why) {
  // What was written meanwhile is not lost.
  setDraft(box.value.trim() ? `${text}\n\n${box.value}` : text);
  const words = /** @type {HTMLElement} */ (problem.querySelector("span"));
  words.textContent = why;
  problem.hidden = false;
  focus();
}

/** Puts the caret into the box, but not where that would open a keyboard over the page. */
export function focus() {
  if (matchMedia("(pointer: coarse)").matches) return;
  box.focus({ preventScroll: true });
}

/** The box is as high as its text where CSS alone cannot do that. */
function refresh() {
  send.disabled = box.value.trim() === "";
  if (CSS.supports("field-sizing", "content")) return;
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}
