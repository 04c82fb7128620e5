// Over results: what is searched for is looked for in each picture that comes into view, until the next search.
import { call, make } from "./talk.js";

export const COLOURS = 6; // of phrases, in the style sheet
const AT_ONCE = 2; // results that are asked for at a time: searches share the model
const KEPT = 500; // answers that are remembered while one search is shown

const drawing = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

/** Boxes over a picture of some size, each drawn twice: a dark line below a coloured one is seen on any picture. */
export function fill(svg, boxes, [width, height]) {
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(...boxes.map(({ box: [x0, y0, x1, y1], colour }) => {
    const place = { x: x0 * width, y: y0 * height, width: (x1 - x0) * width, height: (y1 - y0) * height };
    const group = drawing("g", { class: `colour-${colour % COLOURS}` });
    group.append(drawing("rect", { ...place, class: "rim" }), drawing("rect", place));
    return group;
  }));
}

const percent = share => `${Math.round(100 * share)} %`;
export const place = ([x0, y0, x1, y1]) =>
  `${percent(x0)} to ${percent(x1)} from the left, ${percent(y0)} to ${percent(y1)} from the top`;

/** What several texts mean in one picture; each phrase has a colour of its own. */
export async function grounded(item, texts, signal) {
  const answers = [];
  for (const text of texts) answers.push(await call("ground", { body: { row: item.row, text, overlay: false }, signal }));
  const phrases = [...new Set(answers.flatMap(answer => answer.boxes.map(each => each.phrase)))];
  const boxes = answers.flatMap(answer => answer.boxes.map(each => ({ ...each, colour: phrases.indexOf(each.phrase) })));
  return { boxes, notes: answers.map(answer => answer.note).filter(Boolean) };
}

export class Hits {
  texts = [];
  #asking = new AbortController();
  #known = new Map(); // row -> answer
  #waiting = [];
  #running = 0;

  /** `ask(item, texts, signal)` gives `{ boxes }`; `kind` tells drawings of one such object from those of another. */
  constructor(kind, ask) { Object.assign(this, { kind, ask }); }

  /** Another search is shown: what was under way for the one before is given up. */
  begin(texts) {
    if (String(texts) === String(this.texts)) return;
    this.#asking.abort();
    this.#asking = new AbortController();
    this.#known.clear();
    this.#waiting = [];
    this.texts = texts;
  }

  /** A result came into view. */
  seen(tile, item) {
    if (!this.texts.length || this.drawn(tile)) return;
    if (this.#known.has(item.row)) return this.put(tile, item, this.#known.get(item.row));
    if (this.#waiting.some(([other]) => other === tile)) return;
    this.#waiting.push([tile, item]);
    queueMicrotask(() => this.#go()); // once all that came into view are known
  }

  drawn(tile) { return tile.querySelector(`svg.${this.kind}`); }

  /** Which boxes of an answer are drawn. */
  picks(boxes) { return boxes; }

  /** The answer for a picture; null where another search was shown meanwhile. */
  async answer(item) {
    const { signal } = this.#asking;
    if (!this.#known.has(item.row)) {
      const answer = await this.ask(item, this.texts, signal);
      if (signal.aborted) return null;
      if (this.#known.size < KEPT) this.#known.set(item.row, answer);
      return answer;
    }
    return this.#known.get(item.row);
  }

  /** The results that stand first are looked at first. */
  #go() {
    this.#waiting.sort(([one], [other]) => one.dataset.index - other.dataset.index);
    while (this.#running < AT_ONCE && this.#waiting.length) {
      const [tile, item] = this.#waiting.shift();
      if (tile.isConnected) this.#ask(tile, item);
    }
  }

  async #ask(tile, item) {
    this.#running++;
    try {
      const answer = await this.answer(item);
      if (answer && tile.isConnected) this.put(tile, item, answer);
    } catch { /* a picture without boxes; opened, it says what is wrong */ } finally {
      this.#running--;
      this.#go();
    }
  }

  put(tile, item, answer) {
    this.drawn(tile)?.remove();
    const look = tile.querySelector("img"), boxes = this.picks(answer.boxes);
    const svg = drawing("svg", {
      class: `boxes ${this.kind}`, role: "img",
      "aria-label": boxes.length ? boxes.map(each => `${each.phrase}: ${place(each.box)}`).join("; ") : "not found",
      preserveAspectRatio: look.classList.contains("framed") ? "xMidYMid meet" : "xMidYMid slice",
    });
    svg.style.height = look.style.height;
    fill(svg, boxes, item.full);
    look.after(svg);
  }
}

/** The words of a search above its results: one that is pointed at, or has the focus, lights its box on each result. */
export class Words extends Hits {
  #lit = null; // number of a word
  #pressed = null; // the one that stays lit

  /** `results()` are the results in view, each a tile and its item. */
  constructor(host, results) {
    super("meant", async (item, [text], signal) => {
      const { words } = await call("align", { body: { row: item.row, text }, signal });
      return { boxes: words.map(({ word, box }, number) => ({ box, phrase: word, colour: number, number })) };
    });
    Object.assign(this, { host, results });
  }

  /** Another search is shown, whose first result tells which words the model reads. */
  async begin(texts, first) {
    if (String(texts) === String(this.texts) && !this.host.hidden) return;
    super.begin([]);
    super.begin(texts);
    this.#lit = this.#pressed = null;
    this.host.hidden = true;
    if (!texts.length || !first) return;
    try {
      const answer = await this.answer(first);
      if (answer?.boxes.length) this.#offer(answer.boxes);
    } catch { /* of a result without boxes no word is offered */ }
  }

  picks(boxes) { return boxes.filter(each => each.number === this.#lit); }

  seen(tile, item) { if (this.#lit !== null) super.seen(tile, item); }

  put(tile, item, answer) { if (this.#lit !== null) super.put(tile, item, answer); }

  #offer(boxes) {
    this.host.hidden = false;
    this.host.replaceChildren(make("span", { className: "soft" }, "Point at a word: "), ...boxes.map(({ phrase, number }) => {
      const button = make("button", { type: "button", className: `quiet meaning colour-${number % COLOURS}`, "aria-pressed": "false" },
        make("bdi", {}, phrase));
      for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => this.#light(number));
      for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => this.#light(this.#pressed));
      button.addEventListener("click", () => this.#press(number));
      return button;
    }));
  }

  #press(number) {
    this.#pressed = this.#pressed === number ? null : number;
    for (const [place, button] of [...this.host.querySelectorAll("button")].entries()) {
      button.setAttribute("aria-pressed", String(place === this.#pressed));
    }
    this.#light(number);
  }

  #light(number) {
    if (number === this.#lit) return;
    this.#lit = number;
    for (const [tile, item] of this.results()) {
      this.drawn(tile)?.remove();
      this.seen(tile, item);
    }
  }
}
