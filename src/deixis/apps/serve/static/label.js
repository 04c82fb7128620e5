// Labelling: one picture at a time, with what it may be; each answer is saved at once into the csv that the owner named.
import { Desk, fine } from "./desk.js";
import { call, make } from "./talk.js";

const PAUSE = 120; // milliseconds without a key before classes are looked for
const KINDS = { label: "Class", caption: "Caption" };

export class Labels extends Desk {
  #kind = "label";
  #suggested = { labels: [], captions: [] };
  #timer = 0;
  undone = "Not labelled";

  constructor(host) {
    super(host, "labels", "Picture to label");
    this.text.setAttribute("aria-label", KINDS[this.#kind]);
  }

  layout() {
    const radios = Object.entries(KINDS).map(([kind, words]) => {
      const radio = make("input", { type: "radio", name: "kind", checked: kind === "label" });
      radio.addEventListener("change", () => this.#choose(kind));
      return make("label", {}, radio, words);
    });
    this.text = make("input", { id: "label-text", type: "text", autocomplete: "off", maxLength: 500, "aria-describedby": "label-keys" });
    this.text.addEventListener("input", () => this.#typed());
    this.list = make("ol", { id: "label-list", className: "guesses", "aria-label": "Suggestions" });
    return [
      make("fieldset", { className: "kinds" }, make("legend", {}, "What is written"), ...radios),
      make("div", { className: "pair" }, this.text, make("button", { type: "submit" }, "Save")),
      this.trouble, this.list, this.name,
      make("p", { id: "label-keys", className: "soft keys" }, "Enter saves and goes on; 1 to 9 take a suggestion while "
        + "nothing is typed; arrows left and right go back and on; an empty text takes a label away."),
    ];
  }

  get waiting() { return `without=${this.#kind}`; }

  submit() { this.#save(this.text.value); }

  focus() { this.text.focus({ preventScroll: true }); }

  done({ label, caption }) { return label || caption ? `Labelled ${label || caption}` : ""; }

  #choose(kind) {
    this.#kind = kind;
    this.text.setAttribute("aria-label", KINDS[kind]);
    if (this.now) this.#draw();
    this.text.focus();
  }

  #own() { return this.#suggested[`${this.#kind}s`]; }

  shown() {
    this.#suggested = { labels: [], captions: [] };
    this.#draw();
  }

  async nearby(turn) {
    const suggested = await call(`labels/suggestions/${this.now.item.row}`);
    if (turn !== this.turn) return;
    this.#suggested = suggested;
    if (!this.text.value.trim() || this.text.value === this.now[this.#kind]) this.#guesses(this.#own());
  }

  #draw() {
    this.text.value = this.now[this.#kind];
    this.#guesses(this.#own());
    this.said();
    if (!fine()) return;
    this.text.select();
    this.focus();
  }

  #guesses(texts) {
    this.list.replaceChildren(...texts.map((text, place) => {
      const key = place < 9 ? make("kbd", { "aria-hidden": "true" }, String(place + 1)) : "";
      return make("li", {}, make("button", { type: "button", onclick: () => this.#save(text) }, key, make("bdi", {}, text)));
    }));
  }

  said(saved = "") {
    const { total, file } = this.progress, done = this.progress[this.#kind];
    Object.assign(this.bar, { max: Math.max(1, total), value: done });
    const next = done ? ` Next: deixis adapt ${file}` : "";
    const word = this.#kind === "label" ? "labelled" : "captioned";
    const all = done === total && total ? ` That is all.${next}` : done >= 20 ? next : "";
    this.how.textContent = `${saved}${done} of ${total} ${word} in ${file}.${all}`;
  }

  // ---- keys

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.now) return;
    const writing = event.target === this.text, empty = !writing || this.text.value === "" || this.#whole();
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && empty && event.target.type !== "radio") {
      event.preventDefault();
      this.move(step);
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
      this.text.value = this.now[this.#kind];
      this.#guesses(this.#own());
    }
  }

  /** Whether the text is the saved one and wholly selected, as it is when a picture is come back to. */
  #whole() {
    return this.text.value === this.now[this.#kind] && this.text.selectionEnd - this.text.selectionStart === this.text.value.length;
  }

  #typed() {
    clearTimeout(this.#timer);
    const words = this.text.value.trim();
    if (!words || this.#kind === "caption") return this.#guesses(this.#own());
    const turn = this.turn;
    this.#timer = setTimeout(() => this.run(async () => {
      const found = await call(`labels/classes?q=${encodeURIComponent(words)}`);
      if (turn === this.turn && this.text.value.trim() === words) this.#guesses(found);
    }), PAUSE);
  }

  /** Saves a text for the picture that is shown, and goes on to the next without one. */
  #save(text) {
    const now = this.now, kind = this.#kind;
    if (!now) return;
    clearTimeout(this.#timer);
    this.save(now, { [kind]: text }, async () => {
      now[kind] = text.trim();
      await this.open(now.position + 1);
      this.said(text.trim() ? `Saved “${text.trim().slice(0, 60)}”. ` : "Taken away. ");
    });
  }
}
