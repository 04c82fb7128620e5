// The pictures: rows of one height, justified; only rows near the window are in the document.
import { make, said, thumbnail, title } from "./talk.js";

const GAP = 8;
const LINE = 24; // the words below a picture
const MARGIN = 1; // screens kept above and below what is seen

const own = item => (item.width || 1) / (item.height || 1);
const shape = item => Math.min(2.6, Math.max(0.5, own(item))); // what is longer is shown whole in a frame

/** Nobody waits for this picture any more: the server need not send it. */
function spare(look) {
  if (!look.complete) look.removeAttribute("src");
}

/** Rows of pictures of given shapes (width by height), each as wide as the page and about as high as wanted. */
function justify(shapes, width, wanted) {
  const rows = [];
  const height = (sum, count) => (width - GAP * (count - 1)) / sum;
  let from = 0, sum = 0, top = 0;
  const close = (to, tall) => {
    const edges = [0]; // where each picture begins, and the last one ends but for a gap
    for (const one of shapes.slice(from, to)) edges.push(edges.at(-1) + one * tall + GAP);
    rows.push({ from, to, top, height: Math.round(tall), edges: edges.map(Math.round) });
    top += Math.round(tall) + LINE + GAP;
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
  #looks = new Map(); // row -> its picture, shown a moment ago: so that nothing flickers while somebody types

  /** `open(index)`, `more()`, `href(item)`, `leave()` (upwards out of the grid) are what a picture can set off. */
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

  /** Adds pictures below. */
  add(items) {
    this.items = [...this.items, ...items];
    this.#arrange();
  }

  #arrange(keep = false) {
    const first = keep ? this.#rows.find(row => row.top + row.height > scrollY - this.#top()) : null;
    const offset = first ? scrollY - this.#top() - first.top : 0;
    this.#width = this.host.clientWidth;
    if (!this.#width) return; // another tab is shown
    const { rows, height } = justify(this.items.map(shape), this.#width, this.#width < 640 ? 120 : 190);
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
    const near = this.#rows.filter(row => row.top + row.height + LINE > low && row.top < high);
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
      }
      following = tile;
    }
    const seen = near.find(row => row.top >= top) ?? near[0];
    const stop = this.#tiles.has(this.current) ? this.current : seen?.from;
    for (const [index, tile] of this.#tiles) tile.firstChild.tabIndex = index === stop ? 0 : -1;
    if (this.items.length < this.#total && this.host.offsetHeight < high) this.actions.more();
  }

  #tile(item, index) {
    const look = this.#looks.get(item.row)
      ?? make("img", { src: thumbnail(item.row), alt: title(item), draggable: false });
    this.#looks.delete(item.row);
    const link = make("a", { href: this.actions.href(item), draggable: false }, look);
    link.append(make("span", { className: "said" }, said(item) || title(item)));
    link.title = title(item);
    if (item.relevance !== null && item.relevance !== undefined) {
      const bar = make("span", { className: "bar", "aria-hidden": "true" }, make("i"));
      bar.firstChild.style.width = `${Math.round(100 * item.relevance)}%`;
      link.append(bar);
    }
    const tile = make("div", { className: "tile", role: "listitem" }, link);
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
    look.style.height = `${row.height}px`;
    look.classList.toggle("framed", shape(item) !== own(item));
    if (said(item)) line.textContent = said(item, width < 110);
  }

  #index(element) {
    const tile = element.closest?.(".tile");
    return tile && this.host.contains(tile) ? Number(tile.dataset.index) : undefined;
  }

  #click(event) {
    const index = this.#index(event.target);
    if (index === undefined || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    this.actions.open(index);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.#index(event.target) === undefined) return;
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
    const top = this.#top() + row.top, end = top + row.height + LINE;
    if (top < scrollY + bar) scrollTo(0, top - bar);
    else if (end > scrollY + innerHeight) scrollTo(0, end - innerHeight + GAP);
    this.draw();
    this.#tiles.get(index)?.firstChild.focus({ preventScroll: true });
  }
}
