// An order that is being made: groups of answers, the best first, and those without a place yet.

/** Answers are numbered from 0, as they are shown. */
export class Order {
  /** @param {number} count how many answers there are */
  constructor(count) {
    this.count = count;
    /** @type {number[][]} */
    this.groups = [];
    /** The next answer that is named ties with the last group. */
    this.ties = false;
    /** It was given before, and is replaced as a whole by the first answer that is named. */
    this.given = false;
  }

  /** Those without a place, as they are shown. */
  get free() {
    return Array.from({ length: this.count }, (_, number) => number).filter((number) => this.placeOf(number) < 0);
  }

  /** One alone without a place is the last one. */
  get isComplete() {
    return this.free.length <= 1 && this.groups.length > 0;
  }

  /** All groups; what has no place yet is the last one. */
  get whole() {
    return this.free.length ? [...this.groups, this.free] : this.groups;
  }

  /** @param {number} number */
  placeOf(number) {
    return this.groups.findIndex((group) => group.includes(number));
  }

  /**
   * Gives an answer the next place, or takes its place away.
   * @param {number} number
   */
  name(number) {
    if (this.given) this.clear();
    const wasPlaced = this.placeOf(number) >= 0;
    if (wasPlaced) this.take(number);
    if (this.ties && this.groups.length) this.groups[this.groups.length - 1].push(number);
    else if (!wasPlaced) this.groups.push([number]);
    this.ties = false;
  }

  /** The next answer that is named ties with the last one. */
  tie() {
    if (this.groups.length) this.ties = !this.ties;
  }

  /** All that has no place yet is equally good, and the worst. */
  tieRest() {
    if (this.given) this.clear();
    if (this.ties && this.groups.length) this.groups[this.groups.length - 1].push(...this.free);
    else if (this.free.length) this.groups.push(this.free);
    this.ties = false;
  }

  /** Takes back what was named last. Whether there was anything. */
  back() {
    if (this.ties) {
      this.ties = false;
      return true;
    }
    const last = this.groups.at(-1)?.at(-1);
    if (last === undefined) return false;
    this.take(last);
    return true;
  }

  clear() {
    this.groups = [];
    this.ties = this.given = false;
  }

  /** @param {number} number */
  take(number) {
    this.groups = this.groups.map((group) => group.filter((other) => other !== number)).filter((group) => group.length);
  }

  /**
   * Moves an answer beside another one, or into its group.
   * @param {number} number
   * @param {number} other
   * @param {"before" | "with" | "after"} where
   */
  move(number, other, where) {
    if (number === other) return;
    this.settle();
    this.take(number);
    const place = this.placeOf(other);
    if (where === "with") this.groups[place].push(number);
    else this.groups.splice(where === "before" ? place : place + 1, 0, [number]);
  }

  /**
   * Moves an answer one place up (-1) or down (1), out of a tie first.
   * @param {number} number
   * @param {-1 | 1} by
   */
  shift(number, by) {
    this.settle();
    const place = this.placeOf(number);
    const isAlone = this.groups[place].length === 1;
    const target = isAlone ? place + by : by < 0 ? place : place + 1;
    if (isAlone && (target < 0 || target >= this.groups.length)) return;
    this.take(number);
    this.groups.splice(target, 0, [number]);
  }

  /** Gives all a place, so that one can be moved among them. */
  settle() {
    this.given = this.ties = false;
    for (const number of this.free) this.groups.push([number]);
  }
}
