// What is asked of the server: the next question, and to keep what somebody says.

import { askForKey } from "./dialogs.js";
import { words } from "./page.js";
import { hasKey, post, Refusal, setKey } from "./request.js";

/**
 * @typedef {import("./label-cards.js").Question} Question
 * @typedef {import("./label-standing.js").Standing} Standing
 * @typedef {{task: string, question: Question | null, standing: Standing}} Asked
 * @typedef {Question & {id: string, groups: number[][] | null, reason: string | null}} Own
 */

/**
 * A judgment on its way, or kept.
 * @typedef {object} Judgment
 * @property {string} task
 * @property {Question} question
 * @property {number[][] | null} groups null: skipped
 * @property {string} reason
 * @property {string | null} id once it is kept
 */

/**
 * Asks, for the key too where the server wants one.
 * @param {string} path
 * @param {unknown} body
 * @returns {Promise<any>}
 */
async function ask(path, body) {
  try {
    return await (await post(path, body)).json();
  } catch (error) {
    if (!(error instanceof Refusal) || error.status !== 401) throw error;
    const key = await askForKey(hasKey());
    if (!key) throw new Refusal(words["error-key"], 401);
    setKey(key);
    return ask(path, body);
  }
}

/**
 * @param {string} labeler
 * @param {string[]} held candidates that are on the page
 * @returns {Promise<Asked>}
 */
export const next = (labeler, held) => ask("/label/next", { labeler, held });

/**
 * The labeler's own last answers.
 * @param {string} labeler
 * @returns {Promise<{task: string, answers: Own[]}>}
 */
export const mine = (labeler) => ask("/label/mine", { labeler });

/**
 * Keeps a judgment, in the place of an earlier one where it has an id.
 * @param {string} labeler
 * @param {Judgment} judgment
 * @returns {Promise<{id: string, standing: Standing}>}
 */
export function keep(labeler, { task, question, groups, reason, id }) {
  const said = { labeler, task, groups, skip: groups === null, reason };
  if (id !== null) return ask("/label/revise", { ...said, id });
  return ask("/label/answer", { ...said, candidate: question.candidate, times: question.times });
}

/**
 * What went wrong, in the reader's language where it has words for it.
 * @param {unknown} error
 */
export function inWords(error) {
  if (!(error instanceof Refusal)) return words["error-unknown"];
  return words[`label-problem-${error.code.replaceAll("_", "-")}`] ?? error.message;
}

/**
 * Whether the same would be refused again.
 * @param {unknown} error
 */
export const isFinal = (error) => error instanceof Refusal && [400, 403, 404, 409, 413].includes(error.status);
