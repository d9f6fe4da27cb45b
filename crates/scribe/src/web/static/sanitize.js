// HTML from the server becomes nodes here and nowhere else: the page's one Trusted Types policy.
//
// The server has sanitized it already. This list is a second look with the browser's own parser;
// it allows what the server's list allows (src/web/markdown/sanitize.rs).

/** Elements of an answer, each with the attributes that it may have. @type {Record<string, string[]>} */
const ALLOWED = {
  A: ["href", "title", "target", "rel", "data-confirm"], BLOCKQUOTE: [], BR: [], CODE: [], DEL: [],
  DIV: ["class", "tabindex"], EM: [], FIGCAPTION: [], FIGURE: ["class"], H4: [], H5: [], H6: [],
  HR: [], LI: [], OL: ["start"], P: ["class"], PRE: ["tabindex"], SPAN: ["class"], STRONG: [],
  TABLE: [], TBODY: [], TD: ["class"], TH: ["class"], THEAD: [], TR: [], UL: [],
};

const rules = { createHTML: (/** @type {string} */ html) => html };
const { trustedTypes } = /** @type {any} */ (window);
const policy = trustedTypes ? trustedTypes.createPolicy("scribe", rules) : rules;

/**
 * The nodes of an answer's HTML.
 * @param {string} html
 * @returns {ChildNode[]}
 */
export function parse(html) {
  const trusted = /** @type {string} */ (policy.createHTML(html));
  const body = new DOMParser().parseFromString(trusted, "text/html").body;
  for (const element of body.querySelectorAll("*")) {
    const attributes = ALLOWED[element.tagName];
    if (!attributes) {
      element.replaceWith(element.textContent ?? "");
      continue;
    }
    for (const name of element.getAttributeNames()) {
      if (!attributes.includes(name)) element.removeAttribute(name);
    }
    if (element instanceof HTMLAnchorElement && !/^(https?|mailto):$/.test(element.protocol)) {
      element.removeAttribute("href");
    }
  }
  return [...body.childNodes];
}
