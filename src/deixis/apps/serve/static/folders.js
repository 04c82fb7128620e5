// The folders that the owner named, and looking in them for new pictures.
import { $, call, complain, make } from "./talk.js";

const EVERY = 500; // milliseconds between two looks at a job

const pause = time => new Promise(done => setTimeout(done, time));

export class Folders {
  #lines = new Map();

  /** `changed()` is called when pictures came or went. */
  constructor(changed) { this.changed = changed; }

  /** Lists the folders. */
  async show() {
    const host = $("folder-list");
    try {
      const folders = await call("folders");
      if (!folders.length) {
        const words = "No folder was named. To add pictures from here, start the server with one:";
        const how = "deixis serve INDEX --folder my-photos";
        host.replaceChildren(make("p", {}, words), make("pre", { tabIndex: 0 }, how));
        return;
      }
      for (const folder of folders) if (!this.#lines.has(folder.id)) this.#lines.set(folder.id, this.#line(folder));
      host.replaceChildren(make("ul", { className: "lines" }, ...folders.map(folder => this.#lines.get(folder.id))));
    } catch (error) {
      complain(host, error, () => this.show());
    }
  }

  #line(folder) {
    const button = make("button", { type: "button" }, "Look for new pictures");
    const how = make("div", { className: "how", role: "status" });
    button.addEventListener("click", () => this.#look(folder, button, how));
    return make("li", {}, make("div", {}, make("strong", {}, make("bdi", {}, folder.name))), button, how);
  }

  async #look(folder, button, how) {
    const bar = make("progress", { "aria-label": `Progress in ${folder.name}` });
    const words = make("span", {}, "Looking…");
    how.replaceChildren(bar, words);
    how.className = "how";
    button.disabled = true;
    try {
      const { job } = await call(`folders/${folder.id}/update`, { body: {} });
      let state = await call(`jobs/${job}`);
      while (state.state === "running") {
        if (state.total) Object.assign(bar, { max: state.total, value: state.done });
        words.textContent = state.message || (state.total ? `${state.done} of ${state.total}` : "Looking…");
        await pause(EVERY);
        state = await call(`jobs/${job}`);
      }
      how.classList.toggle("trouble", state.state === "failed");
      how.replaceChildren(state.message || "Done.");
      this.changed();
    } catch (error) {
      how.classList.add("trouble");
      complain(how, error);
    } finally {
      button.disabled = false;
    }
  }
}
