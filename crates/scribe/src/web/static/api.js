// Talks to the server: asks for answers as a stream of events, and for HTML of known texts.

import { words } from "./settings.js";
import * as storage from "./storage.js";

/**
 * One event of a stream. `delta` has a piece of text and what it changes on the page; `done` is the
 * last one of a complete answer.
 * @typedef {import("./answer.js").Patch & (
 *   {type: "start", note?: string} |
 *   {type: "delta", text: string} |
 *   {type: "done", figures: string, figuresTitle: string, note?: string} |
 *   {type: "error", message: string}
 * )} AnswerEvent
 */

const KEY = "scribe.key";

/** The key, kept in this tab where the browser keeps anything. */
let key = storage.read("sessionStorage", KEY);

/** The server did not do what it was asked; the message is for the reader. */
export class Refusal extends Error {
  /**
   * @param {string} message
   * @param {number} [status]
   */
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** @param {string} value */
export function setKey(value) {
  key = value;
  storage.write("sessionStorage", KEY, value);
}

export function hasKey() {
  return key !== null;
}

/**
 * @param {string} path
 * @param {unknown} body
 * @param {AbortSignal} [signal]
 */
async function post(path, body, signal) {
  /** @type {Record<string, string>} */
  const headers = { "content-type": "application/json" };
  if (key) headers.authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal, credentials: "same-origin" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refusal(words["error-network"]);
  }
  if (response.ok) return response;
  const refusal = await response.json().catch(() => null);
  throw new Refusal(refusal?.error?.message ?? words["error-unknown"], response.status);
}

/**
 * Asks for an answer.
 * @param {unknown} request
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<AnswerEvent>}
 */
export async function* ask(request, signal) {
  const response = await post("/chat", request, signal);
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const part = await reader?.read();
      if (!part || part.done) return;
      buffer += part.value;
      const events = buffer.split("\n\n");
      buffer = events.pop() ?? "";
      for (const event of events) {
        if (event.startsWith("data: ")) yield JSON.parse(event.slice(6));
      }
    }
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Refusal(words["error-broken-off"]);
  }
}

/**
 * The HTML of texts that were received before.
 * @param {string[]} texts
 * @returns {Promise<string[]>}
 */
export async function htmlOf(texts) {
  const response = await post("/chat/html", { texts });
  return (await response.json()).html;
}
