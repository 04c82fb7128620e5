// Labelling: one picture at a time, with what it may be; each answer is saved at once into the csv that the owner named.
import { $, call, complain, large, make, oneLine, thumbnail } from "./talk.js";

const STRIP = 12; // pictures that are seen beside the one that is labelled
const PAUSE = 120; // milliseconds without a key before classes are looked for
const KINDS = { label: "Class", caption: "Caption" };

export class Labels {
  #kind = "label";
  #progress = null;
  #now = null; // { position, item, caption, label }
  #suggested = { labels: [], captions: [] };
  #timer = 0;
  #turn = 0; // answers to what was asked before another picture was shown are dropped
  #saving = Promise.resolve();

  constructor(host) {
    this.host = host;
    const radios = Object.entries(KINDS).map(([kind, words]) => {
      const radio = make("input", { type: "radio", name: "kind", checked: kind === this.#kind });
      radio.addEventListener("change", () => this.#choose(kind));
      return make("label", {}, radio, words);
    });
    this.look = make("img", { id: "label-look", alt: "" });
    this.text = make("input", { id: "label-text", type: "text", autocomplete: "off", maxLength: 500, "aria-describedby": "label-keys" });
    this.list = make("ol", { id: "label-list", className: "guesses", "aria-label": "Suggestions" });
    this.how = make("p", { className: "soft", role: "status" });
    this.trouble = make("div", { className: "trouble", role: "alert", hidden: true });
    this.name = make("p", { className: "soft name" });
    this.strip = make("ol", { className: "strip", "aria-label": "Pictures before and after" });
    this.bar = make("progress", { max: 1, value: 0, "aria-label": "How many are done" });
    const turner = (sign, name, step) =>
      make("button", { type: "button", className: "turn", "aria-label": name, onclick: () => this.#move(step) }, sign);
    host.append(
      make("div", { className: "desk" },
        make("div", { className: "stage" }, this.look, turner("‹", "The picture before", -1), turner("›", "The next picture", 1)),
        make("form", { className: "panel", onsubmit: event => { event.preventDefault(); this.#save(this.text.value); } },
          make("div", { className: "progress" }, this.bar, this.how),
          make("fieldset", { className: "kinds" }, make("legend", {}, "What is written"), ...radios),
          make("div", { className: "pair" }, this.text, make("button", { type: "submit" }, "Save")),
          this.trouble, this.list, this.name,
          make("p", { id: "label-keys", className: "soft keys" }, "Enter saves and goes on; 1 to 9 take a suggestion while "
            + "nothing is typed; arrows left and right go back and on; an empty text takes a label away."))),
      this.strip);
    this.text.setAttribute("aria-label", KINDS[this.#kind]);
    this.text.addEventListener("input", () => this.#typed());
    host.addEventListener("keydown", event => this.#key(event));
  }

  /** Shows the first picture without a label, or the one that was shown. */
  async show() {
    try {
      this.#progress = await call("labels");
      this.#say();
      if (!this.#now) await this.#open(0);
      else this.text.focus({ preventScroll: true });
    } catch (error) {
      complain(this.trouble, error, () => this.show());
    }
  }

  #choose(kind) {
    this.#kind = kind;
    this.text.setAttribute("aria-label", KINDS[kind]);
    if (this.#now) this.#draw();
    this.text.focus();
  }

  /** The first picture from a position on that has no label; where all have one, the picture there. */
  async #open(position) {
    const open = await call(`labels/queue?start=${position}&k=1&without=${this.#kind}`);
    if (open.length) return this.#at(open[0].position);
    await this.#at(Math.min(position, this.#progress.total - 1));
  }

  async #at(position) {
    if (position < 0 || position >= this.#progress.total) return;
    const turn = ++this.#turn, first = Math.max(0, position - 2);
    const near = await call(`labels/queue?start=${first}&k=${STRIP}`);
    if (turn !== this.#turn) return;
    this.#now = near.find(one => one.position === position);
    this.#suggested = { labels: [], captions: [] };
    this.trouble.hidden = true;
    this.#draw();
    this.#thumbnails(near);
    const suggested = await call(`labels/suggestions/${this.#now.item.row}`);
    if (turn !== this.#turn) return;
    this.#suggested = suggested;
    if (!this.text.value.trim() || this.text.value === this.#now[this.#kind]) this.#guesses(this.#own());
  }

  #move(step) { return this.#run(() => this.#at(this.#now.position + step)); }

  /** What is under way, told when it goes wrong. */
  async #run(work) {
    try {
      await work();
    } catch (error) {
      complain(this.trouble, error);
    }
  }

  #own() { return this.#suggested[`${this.#kind}s`]; }

  #draw() {
    const { item } = this.#now, [width, height] = item.full;
    Object.assign(this.look, { src: large(item.row), alt: `Picture to label: ${oneLine(item.name)}` });
    Object.assign(this.look.style, { maxWidth: `min(100%, ${width}px)`, maxHeight: `min(100%, ${height}px)` });
    this.text.value = this.#now[this.#kind];
    this.name.replaceChildren(make("bdi", {}, oneLine(item.id)));
    this.#guesses(this.#own());
    this.#say();
    if (matchMedia("(pointer: fine)").matches) this.text.select();
    if (matchMedia("(pointer: fine)").matches) this.text.focus({ preventScroll: true });
  }

  #guesses(texts) {
    this.list.replaceChildren(...texts.map((text, place) => {
      const key = place < 9 ? make("kbd", { "aria-hidden": "true" }, String(place + 1)) : "";
      return make("li", {}, make("button", { type: "button", onclick: () => this.#save(text) }, key, make("bdi", {}, text)));
    }));
  }

  #thumbnails(near) {
    this.strip.replaceChildren(...near.map(({ position, item, caption, label }) => {
      const done = label || caption;
      const button = make("button", {
        type: "button", onclick: () => this.#run(() => this.#at(position)),
        "aria-label": `${done ? `Labelled ${done}` : "Not labelled"}: ${oneLine(item.name)}`,
      }, make("img", { src: thumbnail(item.row, 160), alt: "" }), make("span", { className: done ? "tick" : "" }, done ? "✓" : ""));
      if (position === this.#now.position) button.setAttribute("aria-current", "true");
      return make("li", {}, button);
    }));
  }

  #say(saved = "") {
    const { total, file } = this.#progress, done = this.#progress[this.#kind];
    Object.assign(this.bar, { max: Math.max(1, total), value: done });
    const next = done ? ` Next: deixis adapt ${file}` : "";
    const word = this.#kind === "label" ? "labelled" : "captioned";
    const all = done === total && total ? ` That is all.${next}` : done >= 20 ? next : "";
    this.how.textContent = `${saved}${done} of ${total} ${word} in ${file}.${all}`;
  }

  // ---- keys

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.#now) return;
    const writing = event.target === this.text, empty = !writing || this.text.value === "" || this.#whole();
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && empty && event.target.type !== "radio") {
      event.preventDefault();
      this.#move(step);
    } else if (/^[1-9]$/.test(event.key) && empty) {
      const button = this.list.children[Number(event.key) - 1]?.firstChild;
      if (!button) return;
      event.preventDefault();
      button.click();
    } else if (event.key === "ArrowDown" && writing && this.list.firstChild) {
      event.preventDefault();
      this.list.firstChild.firstChild.focus();
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && this.list.contains(event.target)) {
      event.preventDefault();
      const line = event.target.closest("li")[event.key === "ArrowDown" ? "nextSibling" : "previousSibling"];
      (line?.firstChild ?? this.text).focus();
    } else if (event.key === "Escape" && writing) {
      this.text.value = this.#now[this.#kind];
      this.#guesses(this.#own());
    }
  }

  /** Whether the text is the saved one and wholly selected, as it is when a picture is come back to. */
  #whole() {
    return this.text.value === this.#now[this.#kind] && this.text.selectionEnd - this.text.selectionStart === this.text.value.length;
  }

  #typed() {
    clearTimeout(this.#timer);
    const words = this.text.value.trim();
    if (!words || this.#kind === "caption") return this.#guesses(this.#own());
    const turn = this.#turn;
    this.#timer = setTimeout(() => this.#run(async () => {
      const found = await call(`labels/classes?q=${encodeURIComponent(words)}`);
      if (turn === this.#turn && this.text.value.trim() === words) this.#guesses(found);
    }), PAUSE);
  }

  /** Saves a text for the picture that is shown, one after the other, and goes on to the next without one. */
  #save(text) {
    const now = this.#now, kind = this.#kind;
    if (!now) return;
    clearTimeout(this.#timer);
    this.trouble.hidden = true;
    this.#saving = this.#saving.then(() => this.#run(async () => {
      const body = { before_caption: now.caption, before_label: now.label, caption: now.caption, label: now.label, [kind]: text };
      try {
        this.#progress = await call(`labels/${now.item.row}`, { body });
      } catch (error) {
        if (error.status === 409) await this.#refreshed(now);
        throw error;
      }
      now[kind] = text.trim();
      await this.#open(now.position + 1);
      this.#say(text.trim() ? `Saved “${text.trim().slice(0, 60)}”. ` : "Taken away. ");
    }));
  }

  /** What another window saved is now what stands there; what was typed stays in the box. */
  async #refreshed(now) {
    const [there] = await call(`labels/queue?start=${now.position}&k=1`);
    Object.assign(now, { caption: there.caption, label: there.label });
  }
}
