// The pictures: rows of one height, justified; only rows near the window are in the document.
import { counted, make, said, thumbnail, title, worded } from "./talk.js";

const GAP = 8;
const LINE = 20; // of words below a picture
const MARGIN = 1; // screens kept above and below what is seen

const own = item => (item.width || 1) / (item.height || 1);
const shape = item => Math.min(2.6, Math.max(0.5, own(item))); // what is longer is shown whole in a frame

/** Nobody waits for this picture any more: the server need not send it. */
function spare(look) {
  if (!look.complete) look.removeAttribute("src");
}

/** Rows of pictures of given shapes (width by height), each as wide as the page and about as high as wanted, with room
 * for words below. */
function justify(shapes, width, wanted, below) {
  const rows = [];
  const height = (sum, count) => (width - GAP * (count - 1)) / sum;
  let from = 0, sum = 0, top = 0;
  const close = (to, tall) => {
    const edges = [0]; // where each picture begins, and the last one ends but for a gap
    for (const one of shapes.slice(from, to)) edges.push(edges.at(-1) + one * tall + GAP);
    rows.push({ from, to, top, height: Math.round(tall), edges: edges.map(Math.round) });
    top += Math.round(tall) + below + GAP;
    from = to;
  };
  shapes.forEach((one, at) => {
    const before = sum, count = at - from + 1;
    sum += one;
    const now = height(sum, count);
    if (now > wanted) return;
    if (count > 1 && height(before, count - 1) - wanted < wanted - now) {
      close(at, height(before, count - 1));
      sum = one;
    } else {
      close(at + 1, now);
      sum = 0;
    }
  });
  if (from < shapes.length) close(shapes.length, Math.min(wanted, height(sum, shapes.length - from)));
  return { rows, height: top };
}

export class Grid {
  items = [];
  current = 0;
  #rows = [];
  #tiles = new Map();
  #width = 0;
  #total = 0;
  #size = 190;
  #columns = [];
  #last = null; // the tile that was selected last: to it a range goes
  selected = new Map(); // row -> item
  #looks = new Map(); // row -> its picture, shown a moment ago: so that nothing flickers while somebody types

  /** `open(index)`, `more()`, `href(item)`, `leave()` (upwards out of the grid), `select()` (others are selected) are
   * what a picture can set off; `seen(tile, item)` is called for each that comes near the window. */
  constructor(host, actions) {
    this.host = host;
    this.actions = actions;
    let waiting = 0;
    const soon = () => { waiting ||= requestAnimationFrame(() => { waiting = 0; this.draw(); }); };
    addEventListener("scroll", soon, { passive: true });
    new ResizeObserver(() => { if (host.clientWidth !== this.#width) this.#arrange(true); }).observe(host);
    addEventListener("resize", soon);
    host.addEventListener("click", event => this.#click(event));
    host.addEventListener("keydown", event => this.#key(event));
    host.addEventListener("change", event => this.#check(event));
    host.addEventListener("focusin", event => { this.current = this.#index(event.target) ?? this.current; });
  }

  /** Shows other pictures. */
  show(items, total) {
    const focused = this.host.contains(document.activeElement);
    for (const [index, tile] of this.#tiles) {
      this.#looks.set(this.items[index].row, tile.querySelector("img"));
      tile.remove();
    }
    this.#tiles.clear();
    this.items = items;
    this.#total = total;
    this.current = 0;
    this.#arrange();
    this.#looks.forEach(spare);
    this.#looks.clear();
    if (focused) this.focus(0);
  }

  /** Adds pictures below; there are `total` in all. */
  add(items, total) {
    this.items = [...this.items, ...items];
    this.#total = total;
    this.#arrange();
  }

  /** The pictures near the window, each with its item. */
  get near() { return [...this.#tiles].map(([index, tile]) => [tile, this.items[index]]); }

  /** Draws all pictures anew. */
  redraw() {
    for (const tile of this.#tiles.values()) tile.remove();
    this.#tiles.clear();
    this.draw();
  }

  /** How high rows are, and which columns stand under each picture. */
  look({ size = this.#size, columns = this.#columns }) {
    if (size === this.#size && String(columns) === String(this.#columns)) return;
    const anew = String(columns) !== String(this.#columns);
    this.#size = size;
    this.#columns = columns;
    if (anew) for (const tile of this.#tiles.values()) tile.remove();
    if (anew) this.#tiles.clear();
    this.#arrange(true);
  }

  /** Pixels below a picture: what it shows, how sure that is, and the columns. */
  get #below() {
    const scored = this.items[0]?.score !== null && this.items[0]?.score !== undefined;
    return LINE * (1 + Number(scored) + this.#columns.length) + 8;
  }

  #arrange(keep = false) {
    const first = keep ? this.#rows.find(row => row.top + row.height > scrollY - this.#top()) : null;
    const offset = first ? scrollY - this.#top() - first.top : 0;
    this.#width = this.host.clientWidth;
    if (!this.#width) return; // another tab is shown
    const { rows, height } = justify(this.items.map(shape), this.#width,
      this.#width < 640 ? Math.min(this.#size * 0.65, this.#width) : this.#size, this.#below);
    this.#rows = rows;
    this.host.style.height = `${height}px`;
    if (first && scrollY > this.#top()) {
      const row = rows.find(other => other.to > first.from);
      if (row) scrollTo(0, row.top + offset + this.#top());
    }
    for (const [index, tile] of this.#tiles) this.#put(tile, index);
    this.draw();
  }

  #top() { return this.host.getBoundingClientRect().top + scrollY; }

  #row(index) { return this.#rows.find(row => row.to > index); }

  /** Brings the document up to what the window shows, and asks for more near the end. */
  draw() {
    if (!this.host.clientWidth) return;
    const top = scrollY - this.#top(), low = top - MARGIN * innerHeight, high = top + (1 + MARGIN) * innerHeight;
    const near = this.#rows.filter(row => row.top + row.height + this.#below > low && row.top < high);
    const from = near[0]?.from ?? 0, to = near.at(-1)?.to ?? 0;
    for (const [index, tile] of this.#tiles) {
      if ((index < from || index >= to) && !tile.contains(document.activeElement)) {
        spare(tile.querySelector("img"));
        tile.remove();
        this.#tiles.delete(index);
      }
    }
    let following = null;
    for (let index = to - 1; index >= from; index--) {
      let tile = this.#tiles.get(index);
      if (!tile) {
        tile = this.#tile(this.items[index], index);
        this.#tiles.set(index, tile);
        this.#put(tile, index);
        this.host.insertBefore(tile, following);
        this.actions.seen(tile, this.items[index]);
      }
      following = tile;
    }
    const seen = near.find(row => row.top >= top) ?? near[0];
    const stop = this.#tiles.has(this.current) ? this.current : seen?.from;
    for (const [index, tile] of this.#tiles) tile.firstChild.tabIndex = index === stop ? 0 : -1;
    if (this.items.length < this.#total && this.host.offsetHeight < high) this.actions.more();
  }

  #tile(item, index) {
    const side = this.#size > 240 ? 640 : 320;
    const look = this.#looks.get(item.row)
      ?? make("img", { src: thumbnail(item.row, side), alt: title(item), draggable: false });
    this.#looks.delete(item.row);
    const link = make("a", { href: this.actions.href(item), draggable: false }, look);
    link.append(make("bdi", { className: "what", "aria-hidden": "true" }, title(item)));
    if (said(item)) link.append(make("span", { className: "said" }, said(item)));
    for (const name of this.#columns) {
      const words = name in item.columns ? worded(item.columns[name]) : "";
      link.append(make("span", { className: "cell" }, words ? make("small", {}, `${name} `) : "", make("bdi", {}, words)));
    }
    link.title = title(item);
    if (item.relevance !== null && item.relevance !== undefined) {
      const bar = make("span", { className: "bar", "aria-hidden": "true" }, make("i"));
      bar.firstChild.style.width = `${Math.round(100 * item.relevance)}%`;
      link.querySelector(".said").after(bar);
    }
    const box = make("input", { type: "checkbox", className: "mark", tabIndex: -1, "aria-label": `Select: ${title(item)}` });
    box.checked = this.selected.has(item.row);
    const tile = make("div", { className: "tile", role: "listitem" }, link, box);
    tile.classList.toggle("marked", box.checked);
    tile.dataset.index = index;
    tile.setAttribute("aria-posinset", index + 1);
    tile.setAttribute("aria-setsize", this.#total);
    return tile;
  }

  #put(tile, index) {
    const row = this.#row(index);
    if (!row) return;
    const item = this.items[index], line = tile.querySelector(".said"), look = tile.querySelector("img");
    const left = row.edges[index - row.from], width = row.edges[index - row.from + 1] - GAP - left;
    Object.assign(tile.style, { left: `${left}px`, top: `${row.top}px`, width: `${width}px` });
    for (const part of tile.querySelectorAll("img, .boxes")) part.style.height = `${row.height}px`;
    look.classList.toggle("framed", shape(item) !== own(item));
    if (line) line.textContent = said(item, width < 150);
  }

  #index(element) {
    const tile = element.closest?.(".tile");
    return tile && this.host.contains(tile) ? Number(tile.dataset.index) : undefined;
  }

  #click(event) {
    const index = this.#index(event.target);
    if (index !== undefined && event.shiftKey && !event.button) {
      event.preventDefault();
      getSelection().removeAllRanges();
      this.#range(index);
      return;
    }
    if (index === undefined || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    if (event.target.className === "mark") return;
    event.preventDefault();
    this.actions.open(index);
  }

  // ---- selecting

  #check(event) {
    const index = this.#index(event.target);
    if (index !== undefined) this.mark(index, event.target.checked);
  }

  /** Selects a picture, or takes it out of the selection. */
  mark(index, on = !this.selected.has(this.items[index].row)) {
    const item = this.items[index];
    if (on) this.selected.set(item.row, item);
    else this.selected.delete(item.row);
    this.#last = index;
    this.#marked();
  }

  /** All from the one that was selected last to this one. */
  #range(index) {
    const [from, to] = [this.#last ?? index, index].sort((a, b) => a - b);
    for (const item of this.items.slice(from, to + 1)) this.selected.set(item.row, item);
    this.#last = index;
    this.#marked();
  }

  /** Selects all that are listed so far, or nothing. */
  markAll(on) {
    if (on) for (const item of this.items) this.selected.set(item.row, item);
    else this.selected.clear();
    this.#marked();
  }

  #marked() {
    for (const [index, tile] of this.#tiles) {
      const on = this.selected.has(this.items[index].row);
      tile.querySelector(".mark").checked = on;
      tile.classList.toggle("marked", on);
    }
    this.host.classList.toggle("marking", this.selected.size > 0);
    this.actions.select();
  }

  /** How many are selected, in words. */
  get marks() { return `${counted(this.selected.size)} selected`; }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.#index(event.target) === undefined) return;
    if (event.key === " ") {
      event.preventDefault();
      if (event.shiftKey) this.#range(this.current);
      else this.mark(this.current);
      return;
    }
    const last = this.items.length - 1;
    const to = {
      ArrowLeft: () => this.current - 1, ArrowRight: () => this.current + 1, Home: () => 0, End: () => last,
      ArrowUp: () => this.#beside(-1), ArrowDown: () => this.#beside(1),
    }[event.key]?.();
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0 && event.key === "ArrowUp") this.actions.leave();
    else this.focus(Math.max(0, Math.min(last, to)));
  }

  /** The picture above or below the current one: the one whose middle is nearest. */
  #beside(step) {
    const at = this.#rows.findIndex(row => row.to > this.current), row = this.#rows[at + step];
    if (!row) return step < 0 ? -1 : this.current;
    const middles = ({ edges }) => edges.slice(1).map((edge, place) => (edges[place] + edge) / 2);
    const here = middles(this.#rows[at])[this.current - this.#rows[at].from];
    const far = middles(row).map(middle => Math.abs(middle - here));
    return row.from + far.indexOf(Math.min(...far));
  }

  /** Moves the focus to a picture and the window with it. */
  focus(index) {
    const row = this.#row(index);
    if (!row) return;
    this.current = index;
    const bar = document.querySelector("#form").getBoundingClientRect().height + GAP;
    const top = this.#top() + row.top, end = top + row.height + this.#below;
    if (top < scrollY + bar) scrollTo(0, top - bar);
    else if (end > scrollY + innerHeight) scrollTo(0, end - innerHeight + GAP);
    this.draw();
    this.#tiles.get(index)?.firstChild.focus({ preventScroll: true });
  }
}
