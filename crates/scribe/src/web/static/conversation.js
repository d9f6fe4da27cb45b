// The messages so far, kept in this tab. They are all sent with every question.

import * as storage from "./storage.js";

/**
 * @typedef {object} Message
 * @property {"user" | "assistant"} role
 * @property {string} content
 * @property {string} [figures] tokens and speed of an answer, in words
 * @property {string} [figuresTitle]
 */

const KEY = "scribe.conversation";

/** @type {Message[]} */
export const messages = [];

/** Keeps the messages for a reload of this tab. */
export function keep() {
  storage.write("sessionStorage", KEY, JSON.stringify(messages));
}

/**
 * The messages that a reload has left.
 * @returns {Message[]}
 */
export function kept() {
  try {
    const value = JSON.parse(storage.read("sessionStorage", KEY) ?? "[]");
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}

/** @param {Message} message */
export function add(message) {
  messages.push(message);
  keep();
}

/** Forgets everything. */
export function clear() {
  messages.length = 0;
  keep();
}

/** Takes the last answer back, so that another one can be written; false if there is none. */
export function dropAnswer() {
  const answered = messages.at(-1)?.role === "assistant";
  if (answered) messages.pop();
  keep();
  return answered;
}

/**
 * Takes the last question and its answer back.
 * @returns {string | undefined} the question
 */
export function dropQuestion() {
  dropAnswer();
  const question = messages.at(-1)?.role === "user" ? messages.pop() : undefined;
  keep();
  return question?.content;
}
