// The chat page: what happens when.

import * as announcer from "./announcer.js";
import { Answer } from "./answer.js";
import { ask, htmlOf } from "./api.js";
import * as composer from "./composer.js";
import * as conversation from "./conversation.js";
import { addCopyButtons, copy } from "./copy.js";
import { askForKey } from "./dialogs.js";
import { words } from "./page.js";
import { hasKey, Refusal, setKey } from "./request.js";
import { openSettings, page, settings } from "./settings.js";
import * as shortcuts from "./shortcuts.js";

const list = /** @type {HTMLElement} */ (document.getElementById("conversation"));
const welcome = /** @type {HTMLElement} */ (document.getElementById("welcome"));

/** Stops the answer that is being written. @type {AbortController | null} */
let running = null;

/** The text of each answer on the page. @type {WeakMap<Element, string>} */
const texts = new WeakMap();

/**
 * Adds a message from its template.
 * @param {"user-message" | "assistant-message"} name
 * @returns {HTMLElement}
 */
function addArticle(name) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById(name));
  list.append(template.content.cloneNode(true));
  welcome.hidden = true;
  return /** @type {HTMLElement} */ (list.lastElementChild);
}

/**
 * @param {HTMLElement} article
 * @param {string} selector
 */
const part = (article, selector) => /** @type {HTMLElement} */ (article.querySelector(selector));

/** @param {string} text */
function addUser(text) {
  part(addArticle("user-message"), ".bubble").textContent = text;
}

/** @param {string} text */
function send(text) {
  conversation.add({ role: "user", content: text });
  addUser(text);
  void writeAnswer();
}

/**
 * Asks for an answer to the conversation as it is and shows it while it is written.
 * @param {boolean} [again] whether there was one before, and another one is wanted
 */
async function writeAnswer(again = false) {
  const article = addArticle("assistant-message");
  const answer = new Answer(part(article, ".answer"), { whole: settings.whole, shown: shortcuts.follow });
  const state = { text: "", complete: false };
  const own = new AbortController();
  running = own;
  composer.setBusy(true);
  announcer.clear();
  announcer.say(words.answering);
  shortcuts.scrollDown();
  let problem = "";
  let retry = false;
  let refused = false;
  try {
    await receive(article, answer, state, again, own.signal);
    if (!state.complete) problem = words["error-broken-off"];
  } catch (error) {
    if (own.signal.aborted) await showStopped(article, answer, state.text);
    else if (error instanceof Refusal && error.status === 401) retry = await enterKey();
    else problem = error instanceof Refusal ? error.message : words["error-unknown"];
    if (error instanceof Refusal && error.status === 401 && !retry) problem = words["error-key"];
    refused = error instanceof Refusal && (error.status === 400 || error.status === 413);
  }
  // A new chat has begun meanwhile, perhaps with an answer of its own.
  if (running !== own) return answer.drop();
  answer.end();
  running = null;
  composer.setBusy(false);
  if (retry) {
    article.remove();
    return writeAnswer(again);
  }
  if (refused) return takeBack(article, problem);
  if (problem) showProblem(article, problem);
  else announcer.say(words[own.signal.aborted ? "answer-stopped" : "answer-ended"]);
  if (state.text) keepAnswer(article, state.text);
  shortcuts.follow();
}

/**
 * A question that would be refused again, with all that comes after it, goes back into the box.
 * @param {HTMLElement} article
 * @param {string} problem
 */
function takeBack(article, problem) {
  const question = conversation.dropQuestion() ?? "";
  article.previousElementSibling?.remove();
  article.remove();
  welcome.hidden = conversation.messages.length > 0;
  composer.giveBack(question, problem);
}

/**
 * @param {HTMLElement} article
 * @param {Answer} answer
 * @param {{text: string, complete: boolean}} state
 * @param {boolean} again
 * @param {AbortSignal} signal
 */
async function receive(article, answer, state, again, signal) {
  const request = {
    messages: conversation.messages.map(({ role, content }) => ({ role, content })),
    system: settings.system,
    temperature: settings.temperature,
    max_tokens: settings.maxTokens,
    again,
  };
  for await (const event of ask(request, signal)) {
    if (event.type === "error") throw new Refusal(event.message);
    if (event.type === "delta") state.text += event.text;
    if (event.type === "start") showNote(part(article, ".dropped"), event.note);
    if (event.type === "done") {
      state.complete = true;
      part(article, ".figures").textContent = event.figures;
      part(article, ".figures").title = event.figuresTitle;
      showNote(part(article, ".ended"), event.note);
    }
    if (event.type !== "start") answer.apply(event);
  }
}

/**
 * What was received stays, exactly: its text is rendered as a whole.
 * @param {HTMLElement} article
 * @param {Answer} answer
 * @param {string} text
 */
async function showStopped(article, answer, text) {
  part(article, ".figures").textContent = words["answer-stopped"];
  if (!text || !article.isConnected) return;
  try {
    const [html = ""] = await htmlOf([text]);
    answer.replace(html);
  } catch {
    // The server is gone; what is on the page is the same but for the last line.
  }
}

/**
 * @param {HTMLElement} article
 * @param {string} text
 */
function keepAnswer(article, text) {
  texts.set(article, text);
  const { textContent, title } = part(article, ".figures");
  conversation.add({ role: "assistant", content: text, figures: textContent ?? "", figuresTitle: title });
}

/**
 * @param {HTMLElement} element
 * @param {string | undefined} note
 */
function showNote(element, note) {
  if (!note) return;
  element.textContent = note;
  element.hidden = false;
  announcer.say(note);
}

/**
 * @param {HTMLElement} article
 * @param {string} problem
 */
function showProblem(article, problem) {
  const element = part(article, ".problem");
  part(element, "p").textContent = problem;
  element.hidden = false;
  announcer.say(problem);
}

/** Asks for the key; false if the reader has none. */
async function enterKey() {
  const key = await askForKey(hasKey());
  if (key) setKey(key);
  composer.focus();
  return key !== null;
}

function stop() {
  running?.abort();
  return running !== null;
}

function newChat() {
  stop();
  running = null;
  composer.setBusy(false);
  conversation.clear();
  announcer.clear();
  list.querySelectorAll(".message").forEach((message) => message.remove());
  welcome.hidden = false;
  composer.setDraft("");
  composer.focus();
  scrollTo(0, 0);
}

function regenerate() {
  if (running) return;
  const again = conversation.dropAnswer();
  const last = list.lastElementChild;
  if (last?.classList.contains("assistant")) last.remove();
  composer.focus();
  void writeAnswer(again);
}

function editLast() {
  if (running) return;
  const question = conversation.dropQuestion();
  if (question === undefined) return;
  while (list.lastElementChild?.classList.contains("assistant")) list.lastElementChild.remove();
  list.lastElementChild?.remove();
  welcome.hidden = conversation.messages.length > 0;
  composer.setDraft(question);
  composer.focus();
}

/** @param {HTMLElement} button */
function copyAnswer(button) {
  const article = button.closest(".message");
  const text = article && texts.get(article);
  if (text) void copy(button, text);
}

/** @type {Record<string, (button: HTMLElement) => unknown>} */
const actions = {
  "copy-answer": copyAnswer,
  "copy-code": (button) => void copy(button, button.closest("figure")?.querySelector("code")?.textContent ?? ""),
  edit: editLast,
  example: (button) => running || send(/** @type {HTMLButtonElement} */ (button).value),
  "new-chat": newChat,
  regenerate,
  "scroll-down": shortcuts.scrollDown,
  settings: openSettings,
  stop,
};

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  const button = event.target instanceof Element ? event.target.closest("[data-action]") : null;
  const action = button instanceof HTMLElement ? actions[button.dataset.action ?? ""] : undefined;
  if (!action || !(button instanceof HTMLElement)) return;
  event.preventDefault();
  action(button);
});

/** Shows the conversation that the page came with, or that a reload of this tab has left. */
async function restore() {
  if (page.history.length > 0) {
    const articles = list.querySelectorAll(".message");
    for (const [index, message] of page.history.entries()) {
      conversation.messages.push(message);
      if (articles[index]) texts.set(articles[index], message.content);
    }
    conversation.keep();
    addCopyButtons(list);
    shortcuts.scrollDown();
    return;
  }
  const kept = conversation.kept();
  if (kept.length === 0) return;
  conversation.messages.push(...kept);
  /** @type {HTMLElement[]} */
  const answers = [];
  // All at once, as text: what is said while their HTML is on its way comes after them.
  for (const message of kept) {
    if (message.role === "user") addUser(message.content);
    else answers.push(addKept(message));
  }
  shortcuts.scrollDown();
  if (answers.length === 0) return;
  // Where the server cannot be asked, they stay text.
  const html = await htmlOf(answers.map((article) => texts.get(article) ?? "")).catch(() => []);
  for (const [index, article] of answers.entries()) {
    if (html[index] === undefined) continue;
    const answer = new Answer(part(article, ".answer"), { whole: false, silent: true });
    answer.replace(html[index]);
    answer.end();
  }
  shortcuts.follow();
}

/**
 * @param {conversation.Message} message
 * @returns {HTMLElement}
 */
function addKept(message) {
  const article = addArticle("assistant-message");
  texts.set(article, message.content);
  part(article, ".figures").textContent = message.figures ?? "";
  part(article, ".figures").title = message.figuresTitle ?? "";
  const plain = document.createElement("p");
  plain.className = "raw";
  plain.textContent = message.content;
  part(article, ".answer").append(plain);
  return article;
}

// The page itself goes to where the conversation ends, or to the top of an empty page.
history.scrollRestoration = "manual";
composer.connect({ send: (text) => running || send(text), editLast });
shortcuts.connect({ stop, newChat });
await restore();
