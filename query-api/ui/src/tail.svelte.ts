// Follows the live tail: reads its stream, keeps the newest events, and draws them no faster than people read.
//
// In the flow: `sse` → **`tail.svelte`** → `components/LiveTail`. After a break it resumes behind the last event that it read.

import { asProblem, type Api, type Problem } from "./api";
import type { Hit } from "./api_types";
import { EventReader, type ServerEvent } from "./sse";

/** How many events stay on the page. */
export const TAIL_MAX = 2_000;
/** How often what arrived is drawn. */
const DRAW_MS = 200;
const PAUSE_FIRST_MS = 1_000;
const PAUSE_MAX_MS = 30_000;

export interface TailRow {
  /** Counts up over the whole stream, so that a row keeps its identity while older ones leave. */
  number: number;
  hit: Hit;
}

export type TailState = "connecting" | "following" | "waiting" | "stopped";

export class Tail {
  rows = $state.raw<TailRow[]>([]);
  state = $state<TailState>("stopped");
  paused = $state(false);
  /** Events that the server could not send because this reader was too slow. */
  dropped = $state(0);
  /** Events that arrived while paused and did not fit. */
  skipped = $state(0);
  /** Events that arrived while paused and will be shown. */
  held = $state(0);
  received = $state(0);
  problem = $state.raw<Problem | null>(null);
  /** Seconds until the next try to connect. */
  retry_in_s = $state(0);

  #connection: AbortController | null = null;
  #buffer: TailRow[] = [];
  #number = 0;
  #lastId = "";
  #drawing: ReturnType<typeof setInterval> | null = null;

  constructor(readonly api: Api) {}

  start(q: string): void {
    this.stop();
    this.clear();
    this.#lastId = "";
    this.paused = false;
    this.problem = null;
    const connection = new AbortController();
    this.#connection = connection;
    this.#drawing = setInterval(() => this.#draw(), DRAW_MS);
    void this.#follow(q, connection.signal);
  }

  stop(): void {
    this.#connection?.abort();
    this.#connection = null;
    if (this.#drawing !== null) clearInterval(this.#drawing);
    this.#drawing = null;
    this.state = "stopped";
  }

  pause(paused: boolean): void {
    this.paused = paused;
    if (!paused) this.#draw();
  }

  clear(): void {
    this.rows = [];
    this.#buffer = [];
    this.dropped = 0;
    this.skipped = 0;
    this.held = 0;
    this.received = 0;
  }

  async #follow(q: string, signal: AbortSignal): Promise<void> {
    let pause = PAUSE_FIRST_MS;
    while (!signal.aborted) {
      this.state = "connecting";
      let wait = pause;
      try {
        const reply = await this.api.tail(q, this.#lastId, signal);
        this.state = "following";
        this.problem = null;
        pause = PAUSE_FIRST_MS;
        await this.#read(reply, signal);
        wait = PAUSE_FIRST_MS;
      } catch (error) {
        if (signal.aborted) return;
        this.problem = asProblem(error);
        // A request that is wrong stays wrong.
        if (this.problem && this.problem.status >= 400 && this.problem.status < 500 && this.problem.status !== 429) {
          this.stop();
          return;
        }
        wait = Math.max(pause, (this.problem?.retry_after_s ?? 0) * 1_000);
        pause = Math.min(pause * 2, PAUSE_MAX_MS);
      }
      await this.#wait(wait, signal);
    }
  }

  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    this.state = "waiting";
    for (let left = Math.ceil(ms / 1_000); left > 0 && !signal.aborted; left -= 1) {
      this.retry_in_s = left;
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
  }

  async #read(reply: Response, signal: AbortSignal): Promise<void> {
    const body = reply.body?.pipeThrough(new TextDecoderStream()).getReader();
    const events = new EventReader();
    while (body && !signal.aborted) {
      const { done, value } = await body.read();
      if (done) return;
      for (const event of events.push(value)) this.#take(event);
    }
  }

  #take(event: ServerEvent): void {
    if (event.id !== "") this.#lastId = event.id;
    const data = parse(event.data);
    if (event.type === "dropped" && typeof data["count"] === "number") this.dropped += data["count"];
    if (event.type !== "log" || typeof data["event"] !== "object" || data["event"] === null) return;
    const id = typeof data["id"] === "string" ? data["id"] : "";
    this.#number += 1;
    this.received += 1;
    this.#buffer.push({ number: this.#number, hit: { id, index: "", event: data["event"] as Record<string, unknown> } });
    if (this.#buffer.length > 2 * TAIL_MAX) {
      const excess = this.#buffer.length - TAIL_MAX;
      this.#buffer.splice(0, excess);
      if (this.paused) this.skipped += excess;
    }
  }

  #draw(): void {
    if (this.paused) {
      if (this.#buffer.length > TAIL_MAX) {
        this.skipped += this.#buffer.length - TAIL_MAX;
        this.#buffer.splice(0, this.#buffer.length - TAIL_MAX);
      }
      this.held = this.#buffer.length;
      return;
    }
    this.held = 0;
    if (this.#buffer.length === 0) return;
    this.rows = [...this.rows, ...this.#buffer].slice(-TAIL_MAX);
    this.#buffer = [];
  }
}

function parse(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
