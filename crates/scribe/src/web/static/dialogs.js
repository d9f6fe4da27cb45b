// Questions that the page asks: for the API key, and before a link that carries data.

const keyDialog = /** @type {HTMLDialogElement} */ (document.getElementById("key"));
const keyInput = /** @type {HTMLInputElement} */ (document.getElementById("key-input"));
const linkDialog = /** @type {HTMLDialogElement} */ (document.getElementById("link"));

/**
 * Shows a dialog and waits for the button that ends it.
 * @param {HTMLDialogElement} dialog
 * @returns {Promise<string>}
 */
function answerOf(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}

/**
 * Asks for the key; null if there is none.
 * @param {boolean} wrong whether one was tried and refused
 * @returns {Promise<string | null>}
 */
export async function askForKey(wrong) {
  const problem = /** @type {HTMLElement} */ (keyDialog.querySelector(".problem"));
  problem.hidden = !wrong;
  keyInput.value = "";
  const answer = answerOf(keyDialog);
  keyInput.focus();
  const entered = (await answer) === "continue" ? keyInput.value.trim() : "";
  keyInput.value = "";
  return entered || null;
}

// Enter in the field means "continue", not the first button.
keyInput.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing) return;
  event.preventDefault();
  if (keyInput.value.trim()) keyDialog.close("continue");
});

/** @param {HTMLAnchorElement} link */
async function confirmLink(link) {
  const address = /** @type {HTMLElement} */ (linkDialog.querySelector(".address"));
  address.textContent = link.href;
  if ((await answerOf(linkDialog)) === "open") window.open(link.href, "_blank", "noopener,noreferrer");
}

document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("a[data-confirm]") : null;
  if (!(link instanceof HTMLAnchorElement)) return;
  event.preventDefault();
  void confirmLink(link);
});
// The middle button opens links, too.
document.addEventListener("auxclick", (event) => {
  if (event.target instanceof Element && event.target.closest("a[data-confirm]")) event.preventDefault();
});
