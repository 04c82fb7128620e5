// One picture, large: what is known of it, where it lies, what is like it, why it was found, and what is where in it.
import { copied } from "./options.js";
import { $, call, chance, complain, large, make, oneLine, said, thumbnail, title, worded } from "./talk.js";

const LEGEND = "Warm colours mark the regions that the match depends on. "
  + "A word shows its own map; its bar is its share.";
const BLIND = "This map hardly depends on the words: it shows where the model looks, whatever is asked.";

const FULL = 8192; // pixels of the longer side of the largest picture that the server sends
const FEW = 12; // columns that are shown unasked

export class View {
  #item = null;
  #texts = [];
  #asking = null;
  #cells = []; // its columns
  #maps = new Map(); // of this picture: text -> maps of its words
  lookups = []; // what shows where things are, and what each pixel is, where the model can

  /** `turn(step)`, `leave()`, `like(item, about)` are what can be done here. */
  constructor(actions) {
    this.actions = actions;
    const dialog = $("view");
    dialog.addEventListener("cancel", event => {
      event.preventDefault();
      if (this.#zoomed) this.#zoom(false);
      else actions.leave();
    });
    dialog.addEventListener("close", () => { if (this.#item) actions.leave(); }); // a second Escape can't be held back
    dialog.addEventListener("click", event => { if (event.target === dialog) actions.leave(); });
    dialog.addEventListener("keydown", event => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "z" && !event.altKey && !event.ctrlKey && !event.metaKey) this.#zoom(!this.#zoomed);
      if (this.#zoomed && event.key.startsWith("Arrow")) return; // the picture scrolls
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
    $("view-zoom").addEventListener("click", () => this.#zoom(!this.#zoomed));
    $("view-more").addEventListener("click", () => this.#tabulate(Infinity));
    this.#pan($("view-frame"));
    new ResizeObserver(() => this.#offer()).observe($("view-frame"));
    this.#swipe(dialog.querySelector(".stage"));
  }

  #swipe(stage) {
    let from = null;
    stage.addEventListener("touchstart", event => {
      from = event.touches.length === 1 ? event.touches[0] : null;
    }, { passive: true });
    stage.addEventListener("touchend", event => {
      const by = from ? event.changedTouches[0].clientX - from.clientX : 0;
      if (Math.abs(by) > 50 && !this.#zoomed) this.actions.turn(by < 0 ? 1 : -1);
    }, { passive: true });
  }

  // ---- zoom

  get #zoomed() { return $("view-frame").classList.contains("zoomed"); }

  /** Whether the picture is larger than it is shown. */
  #offer() {
    if (!this.#item) return;
    const frame = $("view-frame"), [width, height] = this.#size();
    $("view-zoom").hidden = !this.#zoomed && width <= frame.clientWidth && height <= frame.clientHeight;
  }

  /** Width and height at which the server sends it whole. */
  #size() {
    const [width, height] = this.#item.full, scale = Math.min(1, FULL / Math.max(width, height));
    return [Math.round(width * scale), Math.round(height * scale)];
  }

  /** Shows every pixel of the picture, around a point given in shares of it, or all of the picture. */
  #zoom(on, [x, y] = [0.5, 0.5]) {
    if (on && $("view-zoom").hidden) return;
    const frame = $("view-frame"), look = $("view-large"), [width, height] = this.#size();
    frame.classList.toggle("zoomed", on);
    $("view-zoom").setAttribute("aria-pressed", String(on));
    $("view-zoom").textContent = on ? "Fit" : "Full size";
    for (const id of ["view-back", "view-next"]) $(id).classList.toggle("away", on);
    Object.assign(look.style, on ? { width: `${width}px`, height: `${height}px` } : { width: "", height: "" });
    if (on) {
      look.hidden = false;
      look.src = large(this.#item.row, FULL);
      frame.tabIndex = 0;
      frame.focus({ preventScroll: true });
      frame.scrollTo(x * width - frame.clientWidth / 2, y * height - frame.clientHeight / 2);
    } else {
      if (document.activeElement === frame) $("view-zoom").focus({ preventScroll: true });
      frame.removeAttribute("tabindex");
      this.#offer();
    }
  }

  /** A click zooms in and out; dragging moves a picture that is larger than its frame. */
  #pan(frame) {
    let from = null, moved = false;
    frame.addEventListener("pointerdown", event => {
      moved = false;
      if (event.pointerType !== "mouse" || event.button || !this.#zoomed) return;
      from = { x: event.clientX, y: event.clientY, left: frame.scrollLeft, top: frame.scrollTop };
      frame.setPointerCapture(event.pointerId);
    });
    frame.addEventListener("pointermove", event => {
      if (!from) return;
      moved ||= Math.hypot(event.clientX - from.x, event.clientY - from.y) > 4;
      frame.scrollTo(from.left + from.x - event.clientX, from.top + from.y - event.clientY);
    });
    frame.addEventListener("pointerup", () => { from = null; });
    frame.addEventListener("click", event => {
      if (moved || event.target.tagName !== "IMG" && !this.#zoomed) return;
      if (this.#zoomed) return this.#zoom(false);
      const box = event.target.getBoundingClientRect(), [width, height] = this.#size();
      const scale = Math.min(box.width / width, box.height / height); // the picture stands in the middle of its box
      const share = (at, from, side, own) => Math.min(1, Math.max(0, (at - from - side / 2) / (own * scale) + 0.5));
      this.#zoom(true, [share(event.clientX, box.left, box.width, width), share(event.clientY, box.top, box.height, height)]);
    });
  }

  // ---- what is known of it

  async #columns(item) {
    $("view-columns").replaceChildren();
    $("view-more").hidden = true;
    try {
      const { columns } = await call(`items/${item.row}`);
      if (this.#item?.row !== item.row) return;
      this.#cells = Object.entries(columns).filter(([, value]) => worded(value) !== "");
      this.#tabulate(FEW);
    } catch { /* the picture itself says what is wrong */ }
  }

  #tabulate(most) {
    const rows = this.#cells.slice(0, most).flatMap(([name, value]) => {
      const words = worded(value);
      return [make("dt", {}, make("bdi", {}, name)),
        make("dd", words.length > 300 ? { tabIndex: 0, className: "long", "aria-label": name } : {}, make("bdi", {}, words))];
    });
    $("view-columns").replaceChildren(...rows);
    $("view-more").hidden = this.#cells.length <= most;
    $("view-more").textContent = `All ${this.#cells.length} columns`;
  }

  get open() { return $("view").open; }

  /** Shows a picture of the results; `place` says whether others stand before and after it. */
  show(item, { texts, explains, respects, before, after }) {
    const same = this.open && this.#item?.row === item.row && String(this.#texts) === String(texts);
    Object.assign($("view-back"), { disabled: !before });
    Object.assign($("view-next"), { disabled: !after });
    if (same) return;
    const why = this.open && !$("why").hidden;
    this.#item = item;
    this.#texts = texts;
    this.#maps.clear();
    this.#unexplain();
    this.#zoom(false);
    for (const id of ["view-small", "view-large", "view-map", "view-layer", "view-boxes"]) {
      const [width, height] = item.full;
      Object.assign($(id).style, { maxWidth: `min(100%, ${width}px)`, maxHeight: `min(100%, ${height}px)` });
    }
    $("view-small").src = thumbnail(item.row);
    this.#columns(item);
    Object.assign($("view-large"), { hidden: true, src: large(item.row), alt: title(item) });
    $("view-name").textContent = oneLine(item.name);
    const sure = item.relevance !== null && item.relevance !== undefined;
    $("view-sure").textContent = sure ? `Matches: ${chance(item.relevance)}` : said(item);
    $("view-captions").replaceChildren(...(item.captions ?? []).map(words => make("p", {}, words)));
    $("view-label").textContent = item.label ? `Label: ${item.label}` : "";
    $("view-size").textContent = item.full[0] > 1 ? `${item.full[0]} × ${item.full[1]} pixels` : "";
    $("view-place").textContent = item.place ?? "";
    $("view-place").parentElement.hidden = !item.place;
    $("view-copy").textContent = "Copy";
    $("view-alike").hidden = !respects?.length;
    $("view-like").hidden = !$("view-alike").hidden; // "alike in all" is the same
    $("view-alike").replaceChildren(...["", ...respects ?? []].map(name =>
      make("button", { type: "button", onclick: () => this.actions.like(item, name) }, "Alike in ", make("bdi", {}, name || "all"))));
    $("view-why").hidden = !explains || texts.length === 0;
    for (const each of this.lookups) each.shows(item, texts);
    if (!this.open) {
      $("view").showModal();
      this.#offer();
      $("view-name").focus({ preventScroll: true });
    } else if (document.activeElement.disabled) {
      $("view-name").focus({ preventScroll: true });
    }
    if (why && !$("view-why").hidden) this.#explain();
  }

  close() {
    if (!this.open) return;
    this.#unexplain();
    for (const each of this.lookups) each.close();
    this.#item = null;
    $("view").close();
    $("view-large").removeAttribute("src");
  }

  async #copy() {
    const done = await copied(this.#item.place);
    if (!done) getSelection().selectAllChildren($("view-place")); // ready to be copied
    $("view-copy").textContent = done ? "Copied" : "Selected";
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
    const words = map.words.map(([word, share]) => {
      const bar = make("i", { className: share < 0 ? "against" : "" });
      bar.style.width = `${Math.min(100, Math.round(100 * Math.abs(share)))}%`;
      const percent = `${share < 0 ? "−" : ""}${Math.round(100 * Math.abs(share))} %`;
      const button = make("button", { type: "button", className: "word", "aria-pressed": "false" },
        make("span", {}, word), make("small", {}, percent),
        make("span", { className: "bar", "aria-hidden": "true" }, bar));
      button.addEventListener("click", () => this.#word(button, map.text, word));
      return button;
    });
    const said = [map.sentence, map.text_blind && BLIND].filter(Boolean);
    const note = said.map(text => make("p", { className: "soft" }, text));
    return make("div", { className: "phrase" }, whole, make("div", { className: "words" }, ...words), ...note);
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
