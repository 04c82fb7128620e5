// Words: what a tag goes with and what it looks like, and below, one picture after the other, the tags that it may lack.
import { Desk, fine, keyed } from "./desk.js";
import { call, chance, complain, counted, make, oneLine } from "./talk.js";

const PAUSE = 120; // milliseconds without a key before words are looked for
const LISTED = 12; // words that a search for words shows
const NEAR = { goes_with: "Goes with", looks_like: "Looks like", both: "Both together" };
const DECIDED = { accepted: "Accepted", refused: "Refused", untouched: "Not decided" };
const KEYS = "A accepts and R refuses the marked tag, arrows up and down mark another, Z undoes; S skips the picture, arrows "
  + "left and right go back and on.";

export class WordsTab {
  constructor(host) {
    document.head.append(make("link", { rel: "stylesheet", href: "static/words.css" }));
    this.lacks = make("section", { "aria-label": "Tags that pictures may lack", tabIndex: -1 });
    this.table = new WordTable();
    this.missing = new Missing(this.lacks, word => this.table.open(word));
    host.append(this.lacks, this.table.host);
  }

  async show() {
    await this.missing.show();
    this.table.show(this.missing.progress);
  }
}

/** A word, and the words near it; one that is clicked is opened in its place. */
class WordTable {
  #timer = 0;
  #turn = 0;

  constructor() {
    this.how = make("p", { className: "soft" });
    this.text = make("input", {
      id: "near-text", type: "search", autocomplete: "off", maxLength: 200, placeholder: "A tag", "aria-label": "Find a tag",
    });
    this.list = make("ul", { className: "acts", "aria-label": "Tags found" });
    this.near = make("div", { className: "near-words", "aria-live": "polite" });
    this.trouble = make("div", { className: "trouble", role: "alert", hidden: true });
    this.text.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.find(), PAUSE);
    });
    this.host = make("section", { className: "word-table", "aria-labelledby": "near-title" },
      make("h2", { id: "near-title" }, "What tags go with"), this.how, this.text, this.trouble, this.list, this.near);
  }

  show(progress) {
    if (!progress) return;
    this.how.textContent = `${progress.words.toLocaleString("en-GB")} tags. A tag goes with those that stand beside it, and `
      + "looks like those whose pictures resemble its own.";
    if (!this.near.firstChild) this.find();
  }

  open(word) {
    this.text.value = word;
    this.host.scrollIntoView({ block: "nearest" });
    this.find();
  }

  async find() {
    const turn = ++this.#turn;
    this.trouble.hidden = true;
    try {
      const found = await call(`words/near?q=${encodeURIComponent(this.text.value.trim().slice(0, 200))}&k=${LISTED}`);
      if (turn === this.#turn) this.#draw(found);
    } catch (error) {
      complain(this.trouble, error, () => this.find());
    }
  }

  #draw(found) {
    this.list.replaceChildren(...found.map((one, place) => {
      const button = this.#button(one.word, () => this.#opens(found, place));
      return make("li", {}, button);
    }));
    if (found.length) this.#opens(found, 0);
    else this.near.replaceChildren(make("p", { className: "soft" }, "No tag holds these letters."));
  }

  #button(word, onclick) { return make("button", { type: "button", onclick }, make("bdi", {}, word)); }

  #opens(found, place) {
    const one = found[place];
    for (const [number, line] of [...this.list.children].entries()) {
      line.firstChild.setAttribute("aria-pressed", String(number === place));
    }
    const look = make("a", { href: `#q=${encodeURIComponent(one.word)}` }, "search for it");
    this.near.replaceChildren(
      make("h3", {}, make("bdi", {}, one.word), make("small", {}, ` on ${counted(one.pictures)}; `, look)),
      make("div", { className: "near-lists" }, ...Object.entries(NEAR).map(([kind, title]) => make("div", {},
        make("h4", {}, title), make("ol", {}, ...one[kind].map(({ word, cosine }) => make("li", {},
          this.#button(word, () => this.open(word)), make("span", { className: "bar", "aria-hidden": "true" },
            this.#length(cosine)), make("span", { className: "soft" }, cosine.toFixed(2)))))))));
  }

  #length(cosine) {
    const bar = make("i");
    bar.style.width = `${100 * Math.max(0, Math.min(1, cosine))}%`;
    return bar;
  }
}

/** The tags that pictures may lack. */
class Missing extends Desk {
  undone = "Not looked at";
  #marked = 0;

  /** `opens(word)` shows what a tag goes with. */
  constructor(host, opens) {
    super(host, "words", "Picture to tag");
    this.opens = opens;
  }

  layout() {
    this.own = make("p", { className: "soft" });
    this.list = make("ol", { className: "lacking", "aria-label": "Tags that it may lack" });
    this.back = keyed("Undo", "Z", { onclick: () => this.#undo() });
    return [this.own, make("h2", {}, "It may lack"), this.list,
      make("div", { className: "acts" }, keyed("Skip", "S", { onclick: () => this.skip() }), this.back), this.trouble, this.name,
      make("p", { className: "soft keys" }, KEYS)];
  }

  get waiting() { return "waiting=true"; }

  record() { return {}; }

  submit() {}

  focus() { if (fine()) this.#buttons(this.#marked)?.[0].focus({ preventScroll: true }); }

  done({ suggestions }) {
    const decided = suggestions.filter(one => one.decision !== "untouched");
    return decided.length < suggestions.length ? "" : decided.map(one => `${DECIDED[one.decision]} ${one.tag}`).join(", ");
  }

  async show() {
    await super.show();
    const none = this.progress && !this.progress.total;
    this.host.firstChild.hidden = this.strip.hidden = none;
    if (none && this.host.childElementCount === 2) this.host.append(make("p", { className: "soft" }, "No tags are suggested."));
  }

  shown() {
    const first = this.now.suggestions.findIndex(one => one.decision === "untouched");
    this.#marked = Math.max(0, first);
    this.stands();
    this.focus();
  }

  nearby() {}

  stands() {
    const { tags, suggestions } = this.now;
    this.own.replaceChildren(tags.length ? "Its tags: " : "It has no tags.", ...tags.flatMap((tag, place) =>
      [place ? ", " : "", make("bdi", {}, oneLine(tag))]));
    this.list.replaceChildren(...suggestions.map((one, place) => {
      const decides = (words, decision) => make("button", {
        type: "button", className: decision, "aria-label": `${words} ${oneLine(one.tag)}`,
        "aria-pressed": String(one.decision === decision), onfocus: () => this.#mark(place),
        onclick: () => this.#decide(place, one.decision === decision ? "untouched" : decision),
      }, words);
      return make("li", { className: place === this.#marked ? "marked" : "" },
        make("button", { type: "button", className: "quiet tag", onclick: () => this.opens(one.tag), "aria-label": `What ${oneLine(one.tag)} goes with` },
          make("bdi", {}, oneLine(one.tag))),
        decides("Accept", "accepted"), decides("Refuse", "refused"),
        make("small", {}, one.decision === "untouched" ? `${chance(one.chance)} such tags are right` : `${DECIDED[one.decision]}.`));
    }));
    this.said();
  }

  said(saved = "") {
    const { file, total, suggested, accepted, refused, absent, sentence } = this.progress, done = accepted + refused;
    Object.assign(this.bar, { max: Math.max(1, suggested), value: done });
    const rest = absent ? ` Not in this index: ${counted(absent)} more.` : "";
    const next = done ? ` ${done === suggested ? "That is all. " : ""}Next: deixis words ${file}` : "";
    this.how.textContent = `${saved}${done} of ${suggested} tags for ${counted(total)}: ${accepted} accepted, ${refused} refused.`
      + `${rest}${next}`;
    this.how.title = sentence;
    this.back.disabled = this.past.length === 0;
  }

  // ---- what is done with a tag

  #buttons(place) { return this.list.children[place]?.querySelectorAll("[aria-pressed]"); }

  #mark(place) {
    this.#marked = place;
    for (const [number, line] of [...this.list.children].entries()) line.classList.toggle("marked", number === place);
  }

  #decide(place, decision) {
    const now = this.now, one = now?.suggestions[place];
    if (!one || one.decision === decision) return;
    this.past.push({ position: now.position, tag: one.tag, decision: one.decision });
    this.#keep(now, one, decision, () => this.#goOn(now, place, `${DECIDED[decision]} “${oneLine(one.tag)}”. `));
  }

  /** Saves a decision; what is shown changes once it stands in the csv. */
  #keep(now, one, decision, then) {
    return this.save(now, { tag: one.tag, decision, before: one.decision }, async () => {
      one.decision = decision;
      now.tags = now.tags.filter(tag => tag !== one.tag).concat(decision === "accepted" ? [one.tag] : []);
      await then();
    });
  }

  /** Marks the next tag of the picture that waits; where none does, goes on to the next picture. */
  async #goOn(now, place, words) {
    if (this.now !== now) return this.said(words);
    const waits = now.suggestions.map((one, number) => (one.decision === "untouched" ? number : -1)).filter(number => number >= 0);
    if (waits.length || now.suggestions[place].decision === "untouched") {
      this.#marked = waits.find(number => number >= place) ?? waits[0] ?? place;
      this.stands();
      this.focus();
    } else await this.open(now.position + 1);
    this.said(words);
  }

  #undo() {
    const last = this.past.pop();
    if (!last) return;
    this.run(async () => {
      await this.at(last.position);
      const now = this.now, place = now.suggestions.findIndex(each => each.tag === last.tag);
      if (place < 0) return this.said("Back. ");
      await this.#keep(now, now.suggestions[place], last.decision, () => {
        this.#marked = place;
        this.stands();
        this.focus();
        this.said("Undone. ");
      });
    });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.now) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], turn = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const letter = event.key.toLowerCase(), last = this.now.suggestions.length - 1;
    if (step) this.move(step);
    else if (turn) {
      this.#mark(Math.max(0, Math.min(last, this.#marked + turn)));
      this.focus();
    } else if (letter === "a") this.#decide(this.#marked, "accepted");
    else if (letter === "r") this.#decide(this.#marked, "refused");
    else if (letter === "s") this.skip();
    else if (letter === "z") this.#undo();
    else return;
    event.preventDefault();
  }
}
