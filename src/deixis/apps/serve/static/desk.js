// One picture after the other, beside a csv: what labelling and looking through drafts have in common.
import { call, complain, large, make, oneLine, thumbnail } from "./talk.js";

const STRIP = 12; // pictures that are seen beside the one that is worked at

/** Whether a mouse is at hand: on a phone, focus would bring up the keyboard. */
export const fine = () => matchMedia("(pointer: fine)").matches;

/** A button, and the key that does the same. */
export const keyed = (words, key, attributes) => make("button", { type: "button", "aria-keyshortcuts": key, ...attributes },
  words, make("kbd", { "aria-hidden": "true" }, key));

/** A subclass has `layout()` (the panel), `waiting` (what the queue is asked for), `shown()` and `nearby(turn)` (what is
 * drawn at once, and once it is known), `said(saved)` (how far it is), `done(entry)` (what a picture has, in words; else it
 * is `undone`), `submit()`, `focus()` and `key(event)`. */
export class Desk {
  progress = null;
  now = null; // the entry of the queue that is shown
  past = []; // what can be taken back, the last at the end; of a picture that was skipped its position alone
  turn = 0; // answers to what was asked before another picture was shown are dropped
  #saving = Promise.resolve();

  constructor(host, route, what) {
    this.host = host;
    this.route = route;
    this.what = what;
    this.look = make("img", { className: "look", alt: "" });
    this.how = make("p", { className: "soft", role: "status" });
    this.trouble = make("div", { className: "trouble", role: "alert", hidden: true });
    this.name = make("p", { className: "soft name" });
    this.strip = make("ol", { className: "strip", "aria-label": "Pictures before and after" });
    this.bar = make("progress", { max: 1, value: 0, "aria-label": "How many are done" });
    const turner = (sign, name, step) =>
      make("button", { type: "button", className: "turn", "aria-label": name, onclick: () => this.move(step) }, sign);
    host.append(make("div", { className: "desk" },
      make("div", { className: "stage" }, this.look, turner("‹", "The picture before", -1), turner("›", "The next picture", 1)),
      make("form", { className: "panel", onsubmit: event => { event.preventDefault(); this.submit(); } },
        make("div", { className: "progress" }, this.bar, this.how), ...this.layout())), this.strip);
    host.addEventListener("keydown", event => this.key(event));
  }

  /** Shows the first picture that waits, or the one that was shown. */
  async show() {
    try {
      this.progress = await call(this.route);
      this.said();
      if (!this.now) await this.open(0);
      else this.focus();
    } catch (error) {
      complain(this.trouble, error, () => this.show());
    }
  }

  /** The first picture from a position on that waits; where none does, the picture there. */
  async open(position) {
    const open = await call(`${this.route}/queue?start=${position}&k=1&${this.waiting}`);
    if (open.length) return this.at(open[0].position);
    await this.at(Math.min(position, this.progress.total - 1));
  }

  async at(position) {
    if (position < 0 || position >= this.progress.total) return;
    const turn = ++this.turn, first = Math.max(0, position - 2);
    const near = await call(`${this.route}/queue?start=${first}&k=${STRIP}`);
    if (turn !== this.turn) return;
    this.now = near.find(one => one.position === position);
    this.trouble.hidden = true;
    this.#draw();
    this.shown();
    this.#thumbnails(near);
    await this.nearby(turn);
  }

  move(step) { return this.run(() => this.at(this.now.position + step)); }

  skip() {
    if (!this.now) return;
    this.past.push({ position: this.now.position });
    this.run(async () => {
      await this.open(this.now.position + 1);
      this.said("Skipped. ");
    });
  }

  /** What is under way, told when it goes wrong. */
  async run(work) {
    try {
      await work();
    } catch (error) {
      complain(this.trouble, error);
    }
  }

  /** Saves what a picture has, one after the other; `then` goes on from there. */
  save(now, parts, then) {
    this.trouble.hidden = true;
    return this.#saving = this.#saving.then(() => this.run(async () => {
      try {
        this.progress = await call(`${this.route}/${now.item.row}`, { body: { ...this.record(now), ...parts } });
      } catch (error) {
        if (error.status === 409) await this.#refreshed(now);
        throw error;
      }
      await then();
    }));
  }

  /** What is saved with each change: all that a picture has, and what was there before. */
  record({ caption, label }) { return { before_caption: caption, before_label: label, caption, label }; }

  /** What another window saved is now what stands there; what was typed stays in the box. */
  async #refreshed(now) {
    const [there] = await call(`${this.route}/queue?start=${now.position}&k=1`);
    if (!there || there.item.row !== now.item.row) return;
    Object.assign(now, there);
    if (this.now === now) this.stands();
  }

  /** What stands beside the picture has changed meanwhile. */
  stands() { this.said(); }

  #draw() {
    const { item } = this.now, [width, height] = item.full;
    Object.assign(this.look, { src: large(item.row), alt: `${this.what}: ${oneLine(item.name)}` });
    Object.assign(this.look.style, { maxWidth: `min(100%, ${width}px)`, maxHeight: `min(100%, ${height}px)` });
    this.name.replaceChildren(make("bdi", {}, oneLine(item.id)));
    this.said();
  }

  #thumbnails(near) {
    this.strip.replaceChildren(...near.map(entry => {
      const { position, item } = entry, done = this.done(entry);
      const button = make("button", {
        type: "button", onclick: () => this.run(() => this.at(position)),
        "aria-label": `${done || this.undone}: ${oneLine(item.name)}`,
      }, make("img", { src: thumbnail(item.row, 160), alt: "" }), make("span", { className: done ? "tick" : "" }, done ? "✓" : ""));
      if (position === this.now.position) button.setAttribute("aria-current", "true");
      return make("li", {}, button);
    }));
  }
}
