// One picture, large: what is known of it, where it lies, what is like it, and why it was found.
import { $, call, chance, complain, large, make, said, thumbnail, title } from "./talk.js";

const LEGEND = "Warm colours mark the regions that the match depends on. "
  + "A word shows its own map; its bar is its share.";

export class View {
  #item = null;
  #texts = [];
  #asking = null;
  #maps = new Map(); // of this picture: text -> maps of its words

  /** `turn(step)`, `leave()`, `like(item)` are what can be done here. */
  constructor(actions) {
    this.actions = actions;
    const dialog = $("view");
    dialog.addEventListener("cancel", event => { event.preventDefault(); actions.leave(); });
    dialog.addEventListener("close", () => { if (this.#item) actions.leave(); }); // a second Escape can't be held back
    dialog.addEventListener("click", event => { if (event.target === dialog) actions.leave(); });
    dialog.addEventListener("keydown", event => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      actions.turn(step);
    });
    $("view-close").addEventListener("click", () => actions.leave());
    $("view-back").addEventListener("click", () => actions.turn(-1));
    $("view-next").addEventListener("click", () => actions.turn(1));
    $("view-like").addEventListener("click", () => actions.like(this.#item));
    $("view-copy").addEventListener("click", () => this.#copy());
    $("view-why").addEventListener("click", () => ($("why").hidden ? this.#explain() : this.#unexplain()));
    $("view-large").addEventListener("load", event => { event.target.hidden = false; });
    this.#swipe(dialog.querySelector(".stage"));
  }

  #swipe(stage) {
    let from = null;
    stage.addEventListener("touchstart", event => {
      from = event.touches.length === 1 ? event.touches[0] : null;
    }, { passive: true });
    stage.addEventListener("touchend", event => {
      const by = from ? event.changedTouches[0].clientX - from.clientX : 0;
      if (Math.abs(by) > 50) this.actions.turn(by < 0 ? 1 : -1);
    }, { passive: true });
  }

  get open() { return $("view").open; }

  /** Shows a picture of the results; `place` says whether others stand before and after it. */
  show(item, { texts, explains, before, after }) {
    const same = this.open && this.#item?.row === item.row && String(this.#texts) === String(texts);
    Object.assign($("view-back"), { disabled: !before });
    Object.assign($("view-next"), { disabled: !after });
    if (same) return;
    const why = this.open && !$("why").hidden;
    this.#item = item;
    this.#texts = texts;
    this.#maps.clear();
    this.#unexplain();
    $("view-small").src = thumbnail(item.row);
    Object.assign($("view-large"), { hidden: true, src: large(item.row), alt: title(item) });
    $("view-name").textContent = item.name;
    const sure = item.relevance !== null && item.relevance !== undefined;
    $("view-sure").textContent = sure ? `Matches: ${chance(item.relevance)}` : said(item);
    $("view-captions").replaceChildren(...(item.captions ?? []).map(words => make("p", {}, words)));
    $("view-label").textContent = item.label ? `Label: ${item.label}` : "";
    $("view-place").textContent = item.place ?? "";
    $("view-place").parentElement.hidden = !item.place;
    $("view-copy").textContent = "Copy";
    $("view-why").hidden = !explains || texts.length === 0;
    if (!this.open) {
      $("view").showModal();
      $("view-name").focus({ preventScroll: true });
    } else if (document.activeElement.disabled) {
      $("view-name").focus({ preventScroll: true });
    }
    if (why && !$("view-why").hidden) this.#explain();
  }

  close() {
    if (!this.open) return;
    this.#unexplain();
    this.#item = null;
    $("view").close();
    $("view-large").removeAttribute("src");
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.#item.place);
      $("view-copy").textContent = "Copied";
    } catch { // an address that is not secure, or not allowed: then it is selected, ready to be copied
      getSelection().selectAllChildren($("view-place"));
      $("view-copy").textContent = "Selected";
    }
  }

  #unexplain() {
    this.#asking?.abort();
    $("why").hidden = true;
    $("view-map").hidden = true;
    $("view-why").setAttribute("aria-expanded", "false");
  }

  #ask(texts, byWord) {
    this.#asking?.abort();
    this.#asking = new AbortController();
    const body = { row: this.#item.row, texts, by_word: byWord };
    return call("explain", { body, signal: this.#asking.signal }).then(answer => answer.maps);
  }

  async #explain() {
    $("why").hidden = false;
    $("why").replaceChildren(make("p", { className: "soft" }, "Looking…"));
    $("view-why").setAttribute("aria-expanded", "true");
    try {
      const maps = await this.#ask(this.#texts, false);
      $("why").replaceChildren(make("p", { className: "soft" }, LEGEND), ...maps.map(map => this.#phrase(map)),
        make("div", { className: "trouble", hidden: true }));
      this.#press($("why").querySelector("button"), maps[0]);
    } catch (error) {
      if (error.name !== "AbortError") complain($("why"), error, () => this.#explain());
    }
  }

  #phrase(map) {
    const whole = make("button", { type: "button", className: "whole", "aria-pressed": "false" }, map.text);
    whole.addEventListener("click", () => this.#press(whole, map));
    const most = Math.max(...map.words.map(([, share]) => Math.abs(share)), 1e-9);
    const words = map.words.map(([word, share]) => {
      const bar = make("i", { className: share < 0 ? "against" : "" });
      bar.style.width = `${Math.round(100 * Math.abs(share) / most)}%`;
      const percent = `${share < 0 ? "−" : ""}${Math.round(100 * Math.abs(share))} %`;
      const button = make("button", { type: "button", className: "word", "aria-pressed": "false" },
        make("span", {}, word), make("small", {}, percent),
        make("span", { className: "bar", "aria-hidden": "true" }, bar));
      button.addEventListener("click", () => this.#word(button, map.text, word));
      return button;
    });
    return make("div", { className: "phrase" }, whole, make("div", { className: "words" }, ...words));
  }

  async #word(button, text, word) {
    const trouble = $("why").querySelector(".trouble");
    trouble.hidden = true;
    $("why").setAttribute("aria-busy", "true");
    try {
      if (!this.#maps.has(text)) this.#maps.set(text, await this.#ask([text], true));
      this.#press(button, this.#maps.get(text).find(map => map.text === word));
    } catch (error) {
      if (error.name !== "AbortError") complain(trouble, error, () => this.#word(button, text, word));
    } finally {
      $("why").removeAttribute("aria-busy");
    }
  }

  /** Lays a map over the picture; the button that is down already takes it away. */
  #press(button, map) {
    const down = button.getAttribute("aria-pressed") === "true" || !map;
    for (const other of $("why").querySelectorAll("[aria-pressed]")) other.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", String(!down));
    $("view-map").hidden = down;
    if (!down) Object.assign($("view-map"), { src: map.overlay, alt: `Where the picture speaks for: ${map.text}` });
  }
}
