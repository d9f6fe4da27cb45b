// What the browser keeps for the page. Where site data is blocked, even to look for it throws.

/**
 * @param {"localStorage" | "sessionStorage"} area
 * @param {string} key
 * @returns {string | null}
 */
export function read(area, key) {
  try {
    return window[area].getItem(key);
  } catch {
    return null;
  }
}

/**
 * Keeps `value`, or nothing where it cannot be kept.
 * @param {"localStorage" | "sessionStorage"} area
 * @param {string} key
 * @param {string} value
 */
export function write(area, key, value) {
  try {
    window[area].setItem(key, value);
  } catch {
    remove(area, key);
  }
}

/**
 * @param {"localStorage" | "sessionStorage"} area
 * @param {string} key
 */
function remove(area, key) {
  try {
    window[area].removeItem(key);
  } catch {
    // Nothing is kept there anyway.
  }
}
