// Talking with the server, and the few words that more than one part of the page needs.

/** What went wrong: what was found and how to mend it, in the server's words where it has any. */
export class Trouble extends Error {
  constructor(found, cure, status = 0) {
    super(found);
    Object.assign(this, { found, cure, status });
  }
}

/** JSON of the server; with a body it is a POST. */
export async function call(path, { body, signal } = {}) {
  const options = body === undefined ? { signal } : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
  };
  let answer, content;
  try {
    answer = await fetch(path, options);
    content = await answer.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server does not answer.", "See whether deixis serve is still running, then try again.");
  }
  let data = null;
  try { data = JSON.parse(content); } catch { /* not ours: told below */ }
  if (answer.ok && data !== null) return data;
  const told = data?.error;
  throw new Trouble(told?.found ?? `The server answered ${answer.status}.`, told ? told.cure : "Its log says more.",
    answer.status);
}

export const thumbnail = (row, side = 320) => `items/${row}/thumbnail?side=${side}`;
export const large = (row, side = 1600) => `items/${row}/image?side=${side}`;
export const counted = value => `${value.toLocaleString("en-GB")} ${value === 1 ? "picture" : "pictures"}`;

const TENTHS = [1, 2, 3, 4, 5, 6, 7, 8, 9].map(part => [part, 10]);
const SHARES = [[1, 100], [1, 50], [1, 20], ...TENTHS, [19, 20], [49, 50], [99, 100]];
const odds = chance => Math.log(chance / (1 - chance));

/** A chance as people say it, in the words of `deixis search`: "about 8 in 10". */
export function chance(value, short = false) {
  if (value < 0.01) return short ? "< 1 in 100" : "fewer than 1 in 100";
  if (value > 0.99) return short ? "> 99 in 100" : "more than 99 in 100";
  const far = ([part, whole]) => Math.abs(odds(value) - odds(part / whole));
  const [part, whole] = SHARES.reduce((best, share) => (far(share) < far(best) ? share : best));
  return `${short ? "" : "about "}${part} in ${whole}`;
}

/** How sure an answer is, or its plain score where nobody has measured how sure that is. */
export const said = (item, short) =>
  item.relevance !== null && item.relevance !== undefined ? chance(item.relevance, short)
    : item.score !== null && item.score !== undefined ? (short ? "" : "score ") + item.score.toFixed(2) : "";

/** Less likely results than this are folded away, as in `deixis search`. */
export const HARDLY = 0.05;

/** A name in one line: a line break in it is shown as a sign. */
export const oneLine = text => text.replaceAll(/[\n\r\t]/g, "\u21b5");

/** What a picture is called: its caption, or its file. */
export const title = item => item.captions?.[0] || oneLine(item.name);

/** A value of a column in words. */
export const worded = value => (Array.isArray(value) ? value.map(worded).join(", ")
  : value === true ? "yes" : value === false ? "no"
    : value !== null && typeof value === "object" ? JSON.stringify(value) : String(value ?? ""));

/** What is remembered on this machine alone, such as a size; a browser may not allow it. */
export function remembered(name, value) {
  try {
    if (value !== undefined) localStorage.setItem(`deixis-${name}`, value);
    return localStorage.getItem(`deixis-${name}`);
  } catch { return null; }
}

/** A new element. */
export function make(tag, attributes = {}, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...inside);
  return element;
}

export const $ = id => document.getElementById(id);

/** Shows what went wrong, with a button that tries again. */
export function complain(place, error, again) {
  const { found, cure } = error instanceof Trouble ? error : new Trouble("Error in this page.", String(error));
  place.replaceChildren(make("strong", {}, found), ...(cure ? [make("p", {}, cure)] : []));
  if (again) place.append(make("button", { type: "button", onclick: again }, "Try again"));
  place.hidden = false;
}
