// Reads server-sent events from the pieces in which they arrive.
//
// In the flow: `api` → **`sse`** → `tail.svelte`. `EventSource` does not say why it was refused, so the page reads the stream itself.

export interface ServerEvent {
  type: string;
  data: string;
  /** The last id that the stream gave, to resume after. */
  id: string;
}

/** A line longer than this is no event of ours. */
const LINE_MAX = 8 * 1024 * 1024;

export class EventReader {
  #rest = "";
  #type = "";
  #data: string[] = [];
  #id = "";

  /** Takes the next piece of the stream and returns the events that it completes. */
  push(piece: string): ServerEvent[] {
    const text = this.#rest + piece;
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    if (this.#rest.length > LINE_MAX) throw new Error("the stream sent a line without an end");
    return lines.flatMap((line) => this.#line(line));
  }

  #line(line: string): ServerEvent[] {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return [];
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.#type = value;
    else if (name === "data") this.#data.push(value);
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    return [];
  }

  #dispatch(): ServerEvent[] {
    const event = { type: this.#type || "message", data: this.#data.join("\n"), id: this.#id };
    const empty = this.#data.length === 0;
    this.#type = "";
    this.#data = [];
    return empty ? [] : [event];
  }
}
