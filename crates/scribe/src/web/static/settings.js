// What the reader has set, kept in this browser.

import { data } from "./page.js";
import * as storage from "./storage.js";

/**
 * @typedef {object} PageData
 * @property {Record<string, string>} words
 * @property {number} temperature the model's own
 * @property {{role: "user" | "assistant", content: string}[]} history where the page came with one
 */

export const page = /** @type {PageData} */ (data);

/**
 * @typedef {object} Settings
 * @property {string} system
 * @property {number | null} temperature null: as the model's makers advise
 * @property {number | null} maxTokens null: no limit but the model's own
 * @property {boolean} whole whether answers are shown only when they are complete
 */

const KEY = "scribe.settings";
/** @type {Settings} */
const DEFAULTS = { system: "", temperature: null, maxTokens: null, whole: false };

/** @type {Settings} */
export const settings = { ...DEFAULTS, ...load() };

/** @returns {Partial<Settings>} */
function load() {
  try {
    return JSON.parse(storage.read("localStorage", KEY) ?? "{}");
  } catch {
    return {};
  }
}

function save() {
  // A browser that keeps nothing still has them until the page is left.
  storage.write("localStorage", KEY, JSON.stringify(settings));
}

const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("settings"));
const form = /** @type {HTMLFormElement} */ (dialog.querySelector("form"));
const field = {
  system: /** @type {HTMLTextAreaElement} */ (document.getElementById("set-system")),
  temperature: /** @type {HTMLInputElement} */ (document.getElementById("set-temperature")),
  temperatureValue: /** @type {HTMLOutputElement} */ (document.getElementById("temperature-value")),
  tokens: /** @type {HTMLInputElement} */ (document.getElementById("set-tokens")),
  whole: /** @type {HTMLInputElement} */ (document.getElementById("set-whole")),
};

/** Shows the panel. */
export function openSettings() {
  fill();
  dialog.showModal();
}

function fill() {
  field.system.value = settings.system;
  field.temperature.value = String(settings.temperature ?? page.temperature);
  field.tokens.value = settings.maxTokens === null ? "" : String(settings.maxTokens);
  field.whole.checked = settings.whole;
  for (const input of form.elements) {
    if (input instanceof HTMLInputElement && input.name === "theme") input.checked = input.value === theme();
  }
  showTemperature();
}

function showTemperature() {
  const value = Number(field.temperature.value);
  field.temperatureValue.value = value.toLocaleString(document.documentElement.lang, { maximumFractionDigits: 2 });
}

form.addEventListener("input", (event) => {
  const input = event.target;
  if (!(input instanceof HTMLInputElement || input instanceof HTMLTextAreaElement)) return;
  if (input === field.system) settings.system = input.value;
  else if (input === field.temperature) settings.temperature = Number(input.value);
  else if (input === field.tokens) settings.maxTokens = input.value && input.checkValidity() ? Number(input.value) : null;
  else if (input === field.whole) settings.whole = field.whole.checked;
  else if (input.name === "theme") setTheme(input.value);
  showTemperature();
  save();
});
// An odd number in a field must not keep the panel open.
form.noValidate = true;

form.querySelector("[data-action=reset]")?.addEventListener("click", () => {
  Object.assign(settings, DEFAULTS);
  save();
  setTheme("system");
  fill();
});

function theme() {
  return document.documentElement.dataset.theme ?? "system";
}

/**
 * The server reads the cookie, so that the next page begins in the right colors.
 * @param {string} value
 */
function setTheme(value) {
  document.documentElement.dataset.theme = value;
  document.cookie = `theme=${value}; path=/; max-age=31536000; samesite=lax`;
}
