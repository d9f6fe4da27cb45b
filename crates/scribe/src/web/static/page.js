// What the server sent with the page: its words, and what else the page's own module reads.

/** @type {{words: Record<string, string>}} */
export const data = JSON.parse(document.getElementById("page-data")?.textContent ?? "{}");
export const words = data.words;
