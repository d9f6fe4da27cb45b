// One answer on the page: takes the server's patches and changes as few nodes as possible, so that
// nothing flickers and a selection survives.

import { say } from "./announcer.js";
import { addCopyButtons } from "./copy.js";
import { parse } from "./sanitize.js";

/**
 * What the server sends about the text (`Patch` in src/web/markdown/stream.rs).
 * @typedef {{replace?: boolean, closed?: string, keep?: number, tail?: string}} Patch
 */

/** The answer that is being written into an element. */
export class Answer {
  /**
   * @param {HTMLElement} element
   * @param {{whole: boolean, silent?: boolean, shown?: () => void}} options `whole`: show nothing
   *   before the end; `silent`: a screen reader has heard it before; `shown` is called after every
   *   change.
   */
  constructor(element, options) {
    this.element = element;
    this.options = options;
    /** Nodes that will never change again. */
    this.final = 0;
    /** How many nodes from the begin on a screen reader has heard. */
    this.said = options.silent ? Infinity : 0;
    /** HTML of finished blocks that are not on the page yet. */
    this.closed = "";
    this.tail = "";
    this.frame = 0;
    element.setAttribute("aria-busy", "true");
  }

  /** @param {Patch} patch */
  apply(patch) {
    if (patch.replace) {
      this.final = 0;
      this.closed = "";
      this.tail = "";
    }
    if (patch.closed) {
      this.closed += patch.closed;
      this.tail = "";
    }
    this.tail = this.tail.slice(0, patch.keep ?? 0) + (patch.tail ?? "");
    if (!this.options.whole) this.frame ||= requestAnimationFrame(() => this.show());
  }

  /** Brings the page to the newest state. */
  show() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const closed = parse(this.closed);
    this.closed = "";
    morph(this.element, this.final, [...closed, ...parse(this.tail)]);
    const before = this.final;
    this.final += closed.length;
    for (const [index, node] of [...this.element.childNodes].slice(0, this.final).entries()) {
      if (index < before || !(node instanceof HTMLElement)) continue;
      if (index >= this.said) say(node.innerText);
      addCopyButtons(node);
    }
    this.said = Math.max(this.said, this.final);
    this.options.shown?.();
  }

  /** The answer is complete, or no more of it comes. */
  end() {
    this.show();
    this.element.removeAttribute("aria-busy");
  }

  /** Nobody wants to see it any more. */
  drop() {
    cancelAnimationFrame(this.frame);
  }

  /** @param {string} html the rendering of the whole text */
  replace(html) {
    this.apply({ replace: true, closed: html });
  }
}

/**
 * Makes the children of `parent` from `start` on equal to `nodes`.
 * @param {Node} parent
 * @param {number} start
 * @param {ChildNode[]} nodes
 */
function morph(parent, start, nodes) {
  for (const [index, node] of nodes.entries()) {
    const old = parent.childNodes[start + index];
    if (!old) parent.appendChild(node);
    else if (!morphNode(old, node)) old.replaceWith(node);
  }
  while (parent.childNodes.length > start + nodes.length) parent.lastChild?.remove();
}

/**
 * Makes `old` equal to `node`; false if they are of different kinds.
 * @param {ChildNode} old
 * @param {ChildNode} node
 */
function morphNode(old, node) {
  if (old.nodeName !== node.nodeName) return false;
  if (old instanceof Text && node instanceof Text) {
    if (node.data.startsWith(old.data)) old.appendData(node.data.slice(old.length));
    else old.data = node.data;
    return true;
  }
  if (!(old instanceof Element && node instanceof Element)) return false;
  for (const name of old.getAttributeNames()) {
    if (!node.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const name of node.getAttributeNames()) {
    const value = node.getAttribute(name) ?? "";
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morph(old, 0, [...node.childNodes]);
  return true;
}
