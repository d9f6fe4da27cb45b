// One call to the server, with the key where there is one.

import { words } from "./page.js";
import * as storage from "./storage.js";

const KEY = "scribe.key";

/** The key, kept in this tab where the browser keeps anything. */
let key = storage.read("sessionStorage", KEY);

/** The server did not do what it was asked; the message is for the reader. */
export class Refusal extends Error {
  /**
   * @param {string} message
   * @param {number} [status]
   * @param {string} [code] what happened, for a program
   */
  constructor(message, status = 0, code = "") {
    super(message);
    this.status = status;
    this.code = code;
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
 * Sends JSON; what is not answered well is a Refusal.
 * @param {string} path
 * @param {unknown} body
 * @param {AbortSignal} [signal]
 */
export async function post(path, body, signal) {
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
  throw new Refusal(refusal?.error?.message ?? words["error-unknown"], response.status, refusal?.error?.code ?? "");
}
