// Talks to the server: asks for answers as a stream of events, and for HTML of known texts.

import { words } from "./page.js";
import { post, Refusal } from "./request.js";

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
