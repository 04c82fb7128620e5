// Where things are: boxes over a picture that light up together with their phrases, and over results as they are seen.
import { $, call, complain, make } from "./talk.js";

const COLOURS = 6; // of phrases, in the style sheet
const AT_ONCE = 2; // results that are asked for at a time: searches share the model
const KEPT = 500; // answers that are remembered while one search is shown

const drawing = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

/** The boxes of a request, each drawn twice: a dark line below a coloured one is seen on any picture. */
function fill(svg, { boxes, size: [width, height] }) {
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(...boxes.map(({ box: [x0, y0, x1, y1], colour }) => {
    const place = { x: x0 * width, y: y0 * height, width: (x1 - x0) * width, height: (y1 - y0) * height };
    const group = drawing("g", { class: `colour-${colour % COLOURS}` });
    group.append(drawing("rect", { ...place, class: "rim" }), drawing("rect", place));
    return group;
  }));
}

const asked = (row, text, signal) => call("ground", { body: { row, text, overlay: false }, signal });

/** What several texts mean in one picture; each phrase has a colour of its own. */
async function found(item, texts, signal) {
  const answers = [];
  for (const text of texts) answers.push(await asked(item.row, text, signal));
  const phrases = [...new Set(answers.flatMap(answer => answer.boxes.map(each => each.phrase)))];
  const boxes = answers.flatMap(answer => answer.boxes.map(each => ({ ...each, colour: phrases.indexOf(each.phrase) })));
  return { boxes, notes: answers.map(answer => answer.note).filter(Boolean), size: item.full };
}

/** How sure a box is, what the detector calls it, and whether its look alone speaks for it. */
const how = ({ score, label, source, phrase }) => [score.toFixed(2), phrase.includes(label) ? "" : label,
  source === "crop" ? "by its look" : ""].filter(Boolean).join(", ");

const percent = share => `${Math.round(100 * share)} %`;
const place = ([x0, y0, x1, y1]) => `${percent(x0)} to ${percent(x1)} from the left, ${percent(y0)} to ${percent(y1)} from the top`;

/** Over the large picture: a line for words, the boxes, and a list of what they are. */
export class Where {
  #item = null;
  #asking = null;

  constructor() {
    $("view-where").addEventListener("click", () => ($("where").hidden ? this.#open() : this.close()));
    $("where-form").addEventListener("submit", event => {
      event.preventDefault();
      this.#ask();
    });
  }

  get open() { return !$("where").hidden; }

  /** Is about another picture from now on; boxes that are shown are looked for there, too. */
  shows(item, texts) {
    const open = this.open;
    this.close();
    this.#item = item;
    $("where-text").value = texts.join(", ");
    if (open) this.#open();
  }

  close() {
    this.#asking?.abort();
    $("where").hidden = true;
    $("view-boxes").setAttribute("hidden", "");
    $("view-where").setAttribute("aria-expanded", "false");
  }

  #open() {
    $("where").hidden = false;
    $("view-where").setAttribute("aria-expanded", "true");
    if ($("where-text").value) this.#ask();
    else {
      $("where-found").replaceChildren();
      $("where-text").focus();
    }
  }

  async #ask() {
    const text = $("where-text").value.trim();
    if (!text) return;
    this.#asking?.abort();
    const mine = this.#asking = new AbortController();
    $("where-found").replaceChildren(make("p", { className: "soft" }, "Looking…"));
    $("view-boxes").setAttribute("hidden", "");
    try {
      const answer = await found(this.#item, [text], mine.signal);
      if (this.#asking === mine) this.#draw(answer);
    } catch (error) {
      if (error.name !== "AbortError") complain($("where-found"), error, () => this.#ask());
    }
  }

  #draw(answer) {
    const svg = $("view-boxes");
    fill(svg, answer);
    svg.removeAttribute("hidden");
    const lines = answer.boxes.map((each, index) => {
      const button = make("button", {
        type: "button", className: `box-line colour-${each.colour % COLOURS}`, "aria-pressed": "false",
        "aria-label": `${each.phrase}, score ${each.score.toFixed(2)}: ${place(each.box)}`,
      }, make("i", { "aria-hidden": "true" }), make("bdi", {}, each.phrase),
      make("small", {}, how(each)));
      this.#light(svg.children[index], button);
      return make("li", {}, button);
    });
    const none = lines.length || answer.notes.length ? [] : [make("p", {}, "Nothing was found.")];
    $("where-found").replaceChildren(...answer.notes.map(note => make("p", {}, note)), ...none,
      ...(lines.length ? [make("ul", { "aria-label": "What the boxes show" }, ...lines)] : []));
  }

  /** A box and its line are lit together: while either is pointed at, and for good once one is pressed. */
  #light(box, button) {
    const lit = on => {
      for (const part of [box, button]) part.classList.toggle("lit", on || button.getAttribute("aria-pressed") === "true");
    };
    const press = () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      lit(true);
    };
    for (const part of [box, button]) {
      part.addEventListener("pointerenter", () => lit(true));
      part.addEventListener("pointerleave", () => lit(false));
      part.addEventListener("click", press);
    }
    button.addEventListener("focus", () => lit(true));
    button.addEventListener("blur", () => lit(false));
  }
}

/** Over results: what is searched for is looked for in each picture that comes into view, until the next search. */
export class Hits {
  #texts = [];
  #asking = new AbortController();
  #known = new Map(); // row -> answer
  #waiting = [];
  #running = 0;

  /** Another search is shown: what was under way for the one before is given up. */
  begin(texts) {
    if (String(texts) === String(this.#texts)) return;
    this.#asking.abort();
    this.#asking = new AbortController();
    this.#known.clear();
    this.#waiting = [];
    this.#texts = texts;
  }

  /** A result came into view. */
  seen(tile, item) {
    if (!this.#texts.length || tile.querySelector("svg")) return;
    if (this.#known.has(item.row)) return this.#put(tile, this.#known.get(item.row));
    this.#waiting.push([tile, item]);
    queueMicrotask(() => this.#go()); // once all that came into view are known
  }

  /** The results that stand first are looked at first. */
  #go() {
    this.#waiting.sort(([one], [other]) => one.dataset.index - other.dataset.index);
    while (this.#running < AT_ONCE && this.#waiting.length) {
      const [tile, item] = this.#waiting.shift();
      if (tile.isConnected) this.#ask(tile, item, this.#asking.signal);
    }
  }

  async #ask(tile, item, signal) {
    this.#running++;
    try {
      const answer = await found(item, this.#texts, signal);
      if (signal.aborted) return;
      if (this.#known.size < KEPT) this.#known.set(item.row, answer);
      if (tile.isConnected) this.#put(tile, answer);
    } catch { /* a picture without boxes; opened, it says what is wrong */ } finally {
      this.#running--;
      this.#go();
    }
  }

  #put(tile, answer) {
    const look = tile.querySelector("img");
    const svg = drawing("svg", {
      class: "boxes", role: "img",
      "aria-label": answer.boxes.length ? answer.boxes.map(each => `${each.phrase}: ${place(each.box)}`).join("; ") : "not found",
      preserveAspectRatio: look.classList.contains("framed") ? "xMidYMid meet" : "xMidYMid slice",
    });
    svg.style.height = look.style.height;
    fill(svg, answer);
    look.after(svg);
  }
}
