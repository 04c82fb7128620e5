// Drafts of captions, one picture at a time: accepted by a key, bettered by typing, skipped or taken back.
import { Desk, fine, keyed } from "./desk.js";
import { call, chance, make, oneLine, thumbnail } from "./talk.js";

const KEYS = "Enter accepts and goes on; typing replaces the draft, F2 or a click edits it; S skips, Z undoes; 1 to 3 take "
  + "the caption of a nearest picture; arrows left and right go back and on.";
const short = text => (text.length > 60 ? `${text.slice(0, 60)}…` : text);

export class Captions extends Desk {
  undone = "Not looked at";
  #busy = false; // a key that is pressed twice is meant once

  constructor(host) { super(host, "captions", "Picture to caption"); }

  layout() {
    this.draft = make("p", { id: "caption-draft", className: "soft" });
    this.text = make("textarea", {
      id: "caption-text", rows: 3, maxLength: 2000, dir: "auto", autocomplete: "off", spellcheck: true,
      "aria-label": "Caption", "aria-describedby": "caption-draft",
    });
    this.text.addEventListener("input", () => this.stands());
    this.accept = keyed("Accept", "Enter", { type: "submit" });
    this.back = keyed("Undo", "Z", { disabled: true, onclick: () => this.#undo() });
    this.near = make("ol", { className: "nearest" });
    this.heading = make("h2", { hidden: true }, "Nearest pictures with captions");
    return [this.draft, this.text,
      make("div", { className: "acts" }, this.accept, keyed("Skip", "S", { onclick: () => this.skip() }), this.back),
      this.trouble, this.heading, this.near, this.name, make("p", { className: "soft keys" }, KEYS)];
  }

  get waiting() { return "waiting=true"; }

  focus() { if (fine()) this.accept.focus({ preventScroll: true }); }

  done({ kind, caption }) { return kind === "untouched" ? "" : `${kind === "accepted" ? "Accepted" : "Edited"} ${caption}`; }

  shown() {
    this.text.value = this.now.caption || this.now.draft;
    this.stands();
    this.said();
    this.near.replaceChildren();
    this.heading.hidden = true;
    this.focus();
  }

  async nearby(turn) {
    const found = await call(`captions/nearest/${this.now.item.row}`);
    if (turn !== this.turn) return;
    this.heading.hidden = found.length === 0;
    this.near.replaceChildren(...found.map(({ item, caption }, place) => {
      const take = () => {
        this.text.value = caption;
        this.stands();
        this.focus();
      };
      return make("li", {}, make("button", { type: "button", onclick: take },
        make("img", { src: thumbnail(item.row, 160), alt: oneLine(item.name) }),
        make("kbd", { "aria-hidden": "true" }, String(place + 1)), make("bdi", {}, caption)));
    }));
  }

  /** What is known of the draft, and what became of it. */
  stands() {
    const { kind, draft, sure } = this.now;
    const how = sure === null ? "how often such drafts are right was not measured" : `${chance(sure)} such drafts are right`;
    const state = { accepted: "Accepted.", edited: "Edited.", untouched: `A draft: ${how}.` }[kind];
    const other = this.text.value.trim() === draft ? [] : [" The draft was: ", make("bdi", {}, draft)];
    this.draft.replaceChildren(state, ...other);
  }

  said(saved = "") {
    const { file, total, accepted, edited, absent } = this.progress, done = accepted + edited;
    Object.assign(this.bar, { max: Math.max(1, total), value: done });
    const rest = absent ? ` ${absent} more of ${file} are not in this index.` : "";
    const next = done ? ` ${done === total ? "That is all. " : ""}Next: deixis adapt ${file}` : "";
    this.how.textContent = `${saved}${done} of ${total} drafts: ${accepted} accepted, ${edited} edited.${rest}${next}`;
    this.back.disabled = this.past.length === 0;
  }

  // ---- what is done with a draft

  submit() {
    const now = this.now, text = this.text.value.trim();
    if (!now || this.#busy) return;
    if (!text && !now.caption) return this.skip();
    const before = now.caption;
    this.#busy = true;
    this.save(now, { caption: text, draft: now.draft }, async () => {
      this.past.push({ position: now.position, saved: { before, caption: text.replaceAll(/\s+/g, " ") } });
      await this.open(now.position + 1);
      this.said(text ? `Saved “${short(text)}”. ` : "Taken away. ");
    }).finally(() => { this.#busy = false; });
  }

  skip() { if (!this.#busy) super.skip(); }

  /** Takes the last step back: the caption that stood there before is saved again. */
  #undo() {
    const last = this.past.pop();
    if (!last) return;
    this.run(async () => {
      await this.at(last.position);
      if (!last.saved) return this.said("Back. ");
      const now = { ...this.now, caption: last.saved.caption };
      this.save(now, { caption: last.saved.before, draft: now.draft }, async () => {
        await this.at(last.position);
        this.said("Undone. ");
      });
    });
  }

  // ---- keys

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !this.now) return;
    if (event.target === this.text) return this.#writing(event);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], letter = event.key.toLowerCase();
    if (step) this.move(step);
    else if (letter === "s") this.skip();
    else if (letter === "z") this.#undo();
    else if (/^[1-3]$/.test(event.key)) this.near.children[Number(event.key) - 1]?.firstChild.click();
    else if (event.key === "F2") this.#edit(this.text.value);
    else if (event.key === "Enter" && event.target === this.host) this.submit();
    else if (event.key.length === 1 && event.key !== " ") this.#edit(event.key);
    else return;
    event.preventDefault();
  }

  #writing(event) {
    if (event.key === "Escape") {
      this.text.value = this.now.caption || this.now.draft;
      this.stands();
      this.accept.focus({ preventScroll: true });
    } else if (event.key === "Enter") this.submit();
    else return;
    event.preventDefault();
  }

  #edit(text) {
    this.text.value = text;
    this.stands();
    this.text.focus();
    this.text.setSelectionRange(text.length, text.length);
  }
}
