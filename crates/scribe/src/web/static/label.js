// The page on which people rank answers: what happens when.

import { clear, say } from "./announcer.js";
import * as bar from "./label-bar.js";
import * as cards from "./label-cards.js";
import { Order } from "./label-order.js";
import * as standing from "./label-standing.js";
import * as talk from "./label-talk.js";
import { words } from "./page.js";
import * as storage from "./storage.js";

/** @typedef {import("./label-talk.js").Judgment} Judgment */
/** @typedef {{task: string, question: import("./label-talk.js").Question}} Asked */

const NAME = "scribe.labeler";
const part = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const work = part("work");
const done = part("done");
const login = /** @type {HTMLFormElement} */ (part("login"));
const nameInput = /** @type {HTMLInputElement} */ (part("name"));
const reason = /** @type {HTMLTextAreaElement} */ (part("reason"));
const problem = part("label-problem");

let labeler = storage.read("localStorage", NAME) ?? "";
/** What is shown. @type {Asked | null} */
let shown = null;
let order = new Order(2);
/** What comes next; fetched while this one is read. @type {Promise<talk.Asked> | null} */
let coming = null;
/** The next one once it is there. @type {talk.Asked | null} */
let ready = null;
/** What was said on this page, the last one at the end. @type {Judgment[]} */
const said = [];
/** What is not kept yet. @type {Set<Judgment>} */
const unsent = new Set();
/** What is being revised. @type {Judgment | null} */
let revised = null;

/** @param {string} text empty for none */
function tell(text) {
  problem.hidden = !text;
  /** @type {HTMLElement} */ (problem.querySelector("span")).textContent = text;
}

/** Fetches the next question while this one is read. */
function fetchNext() {
  ready = null;
  const held = [shown?.question.candidate ?? [], [...unsent].map((judgment) => judgment.question.candidate)].flat();
  const asked = talk.next(labeler, held.slice(-16));
  coming = asked;
  asked.then(
    (next) => {
      if (coming !== asked) return;
      ready = next;
      standing.show(next.standing);
    },
    () => {}, // Told when it is waited for.
  );
}

/** @param {Asked} asked */
function show(asked) {
  shown = asked;
  order = new Order(asked.question.texts.length);
  reason.value = "";
  work.hidden = false;
  done.hidden = true;
  work.classList.toggle("pair", order.count === 2);
  cards.show(asked.question);
  showOrder(false);
  scrollTo(0, 0);
  work.focus({ preventScroll: true });
}

/** Goes on with what was fetched, at once where it is there. */
async function goOn() {
  revised = null;
  part("again").hidden = true;
  try {
    if (!ready && !coming) fetchNext();
    const next = ready ?? (await coming);
    coming = ready = null;
    if (!next?.question) return finish();
    show({ task: next.task, question: next.question });
    fetchNext();
  } catch (error) {
    coming = ready = null;
    shown = null;
    work.hidden = true;
    done.hidden = false;
    tell(talk.inWords(error));
  }
}

function finish() {
  shown = null;
  work.hidden = true;
  done.hidden = false;
  clear();
  say(words["label-all-done"]);
  done.focus();
}

/** @param {boolean} [aloud] */
function showOrder(aloud = true) {
  bar.show(order);
  cards.showPlaces(order);
  /** @type {HTMLButtonElement} */ (part("submit")).disabled = !order.isComplete;
  if (!aloud) return;
  clear();
  say(bar.inWords(order));
}

/** Keeps the order, or a skip, and shows the next question. */
function submit(/** @type {boolean} */ skips = false) {
  if (!shown || (!skips && !order.isComplete)) return;
  const groups = skips ? null : order.whole;
  const judgment = { ...shown, groups, reason: skips ? "" : reason.value, id: revised?.id ?? null };
  if (revised) said.splice(said.indexOf(revised), said.includes(revised) ? 1 : 0);
  said.push(judgment);
  unsent.add(judgment);
  const sent = send(judgment);
  clear();
  say(words[skips ? "label-skipped" : "label-kept"]);
  void goOn();
  void sent;
}

/** @param {Judgment} judgment */
async function send(judgment) {
  try {
    const kept = await talk.keep(labeler, judgment);
    judgment.id = kept.id;
    unsent.delete(judgment);
    if (!unsent.size) tell("");
    standing.show(kept.standing);
  } catch (error) {
    if (talk.isFinal(error)) {
      unsent.delete(judgment);
      said.splice(said.indexOf(judgment), 1);
    }
    part("resend").hidden = !unsent.size;
    tell(talk.inWords(error));
  }
}

/** Shows the last answer again, to be revised. */
function undo() {
  const last = said.findLast((judgment) => judgment !== revised && judgment.id !== null);
  if (last) revise(last);
  else say(words["label-nothing"]);
}

/** @param {Judgment} judgment */
function revise(judgment) {
  // What was shown comes back afterwards: the server gives it again.
  coming = ready = null;
  show(judgment);
  revised = judgment;
  fetchNext();
  part("again").hidden = false;
  order.groups = (judgment.groups ?? []).map((group) => [...group]);
  order.given = true;
  reason.value = judgment.reason;
  showOrder();
}

/** @param {(order: Order) => void} change */
function change(change) {
  change(order);
  showOrder();
  // Of two, naming one says all.
  if (order.count === 2 && order.isComplete) submit();
}

/** @param {KeyboardEvent} event */
function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !shown) return false;
  const digit = /^[0-9]$/.test(event.key) ? event.key : (/^Digit([0-9])$/.exec(event.code)?.[1] ?? "");
  const letter = /^[a-p]$/.test(event.key) && order.count > 9 ? event.key.charCodeAt(0) - 97 : -1;
  const number = order.count > 9 ? letter : Number(digit || "0") - 1;
  if (event.key === "Enter") {
    if (event.target instanceof Element && event.target.matches("button, summary")) return false;
    submit();
  } else if (event.key === "=") change((order) => (order.count === 2 ? order.tieRest() : order.tie()));
  else if (event.key === "Backspace") {
    if (order.back()) showOrder();
    else undo();
  } else if (digit === "0") change((order) => order.tieRest());
  else if (number >= 0 && number < order.count) change((order) => order.name(number));
  else if (event.key === "s") submit(true);
  else if (event.key === "u") undo();
  else if (event.key === "r") reason.focus();
  else if (event.key === "?") {
    const guidelines = /** @type {HTMLDetailsElement} */ (part("guidelines"));
    guidelines.open = !guidelines.open;
  } else return false;
  return true;
}

addEventListener("keydown", (event) => {
  const target = event.target;
  if (document.querySelector("dialog[open]")) return;
  if (target instanceof HTMLTextAreaElement && target === reason) {
    if (event.key === "Escape") work.focus();
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    }
    return;
  }
  // Single keys mean something where people rank, and nowhere else.
  const isAtWork = target === document.body || (target instanceof Node && part("sitting").contains(target));
  if (!isAtWork || target instanceof HTMLInputElement) return;
  if (press(event)) event.preventDefault();
  else if (event.key === "u" && !shown) undo();
});

bar.listen({
  name: (number) => change((order) => order.name(number)),
  move: (number, other, where) => change((order) => order.move(number, other, where)),
  shift: (number, by) => change((order) => order.shift(number, by)),
});

cards.listen((act, number) =>
  change((order) => {
    if (act === "name") order.name(number);
    else if (act === "tie") {
      order.ties = order.groups.length > 0 && order.groups.at(-1)?.includes(number) === false;
      order.name(number);
    } else order.shift(number, act === "earlier" ? -1 : 1);
  }),
);

part("submit").addEventListener("click", () => submit());
part("skip-question").addEventListener("click", () => submit(true));
part("tie-rest").addEventListener("click", () => change((order) => order.tieRest()));
for (const button of document.querySelectorAll("[data-action=undo]")) button.addEventListener("click", undo);
part("look-again").addEventListener("click", () => {
  tell("");
  coming = ready = null;
  void goOn();
});
part("resend").addEventListener("click", () => {
  part("resend").hidden = true;
  tell("");
  for (const judgment of unsent) void send(judgment);
});

const own = /** @type {HTMLDetailsElement} */ (part("own"));
own.addEventListener("toggle", () => void (own.open && showOwn()));

/** Lists the labeler's own last answers, each to be revised. */
async function showOwn() {
  try {
    const { task, answers } = await talk.mine(labeler);
    part("own-list").replaceChildren(...answers.map((answer) => ownLine(task, answer)));
  } catch (error) {
    tell(talk.inWords(error));
  }
}

/**
 * @param {string} task
 * @param {talk.Own} answer
 */
function ownLine(task, answer) {
  const { id, groups } = answer;
  const line = document.createElement("li");
  const text = document.createElement("span");
  const marks = groups?.map((group) => group.map((number) => number + 1).join(" = ")).join(" > ");
  text.textContent = `${answer.prompt.at(-1)?.text.slice(0, 80) ?? ""} · ${marks ?? words["label-skipped"]}`;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain";
  button.textContent = words["label-revise"];
  button.addEventListener("click", () => {
    own.open = false;
    revise({ task, question: answer, groups, reason: answer.reason ?? "", id });
  });
  line.append(text, button);
  return line;
}

/** @param {string} name */
function begin(name) {
  labeler = name;
  storage.write("localStorage", NAME, name);
  login.hidden = true;
  part("sitting").hidden = false;
  part("labeler").textContent = name;
  said.length = 0;
  tell("");
  void goOn();
}

login.addEventListener("submit", (event) => {
  event.preventDefault();
  const name = nameInput.value.trim();
  if (name) begin(name);
});
part("change-name").addEventListener("click", () => {
  coming = ready = null;
  shown = null;
  login.hidden = false;
  part("sitting").hidden = true;
  nameInput.value = labeler;
  nameInput.focus();
});
addEventListener("beforeunload", (event) => {
  if (unsent.size) event.preventDefault();
});

if (labeler) begin(labeler);
else nameInput.focus();
