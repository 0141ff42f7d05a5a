// Asks the query API: one function a route, each of which can be cancelled.
//
// In the flow: `url_state` → **`api`** → `explorer.svelte`. A refusal becomes a `Problem`; whoever cancels gets an `AbortError`.

import type { ContextReply, FacetReply, FieldsReply, HistogramReply, Hit, PipelineReply, Query, RedriveReply, SearchReply, SessionReply, Sort, TraceReply } from "./api_types";

const BASE = "/api/v1";
/** How many bars the histogram asks for. */
export const BUCKETS = 90;
export const TRACE_EVENTS_MAX = 1_000;

/** A refusal, as the API describes it (RFC 9457), or the network's failure in the same form. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly title: string,
    readonly detail: string,
    /** Where in the query the fault is, from 1, in characters. */
    readonly column: number | null,
    /** When it is worth another try. */
    readonly retry_after_s: number | null,
  ) {
    super(detail);
  }
}

/** Is turned to when a request was refused for who sent it, not for what it asks. */
export interface Gate {
  /** Resolves when a key counts: at once, or once somebody has signed in. */
  signedIn(signal: AbortSignal): Promise<void>;
  /** The key counts, and may not do this. */
  lacking(): void;
}

/** How often a request is sent, whatever the gate says. */
const TRIES_MAX = 3;

export class Api {
  constructor(readonly gate: Gate) {}

  /** Who the page is to the API. */
  async session(signal: AbortSignal): Promise<SessionReply> {
    return read(await ask("/session", signal), signal);
  }

  /** Trades the key for a cookie that no script can read. */
  async signIn(key: string, signal: AbortSignal): Promise<SessionReply> {
    return read(await ask("/session", signal, posted({ key })), signal);
  }

  /** Takes the cookie away. */
  async signOut(signal: AbortSignal): Promise<void> {
    await ask("/session", signal, { method: "DELETE" });
  }

  search(query: Query, sort: Sort, limit: number, cursor: string | null, signal: AbortSignal): Promise<SearchReply> {
    const body = cursor === null ? { ...wanted(query), sort, limit } : { ...wanted(query), sort, limit, cursor };
    return this.#json("/search", signal, posted(body));
  }

  histogram(query: Query, signal: AbortSignal): Promise<HistogramReply> {
    return this.#json(`/histogram?${params({ ...wanted(query), buckets: String(BUCKETS) })}`, signal);
  }

  fields(query: Query, signal: AbortSignal): Promise<FieldsReply> {
    return this.#json(`/fields?${params({ ...wanted(query) })}`, signal);
  }

  facet(query: Query, field: string, size: number, prefix: string, signal: AbortSignal): Promise<FacetReply> {
    return this.#json(`/facets?${params({ field, ...wanted(query), size: String(size), prefix })}`, signal);
  }

  async event(id: string, signal: AbortSignal): Promise<Hit> {
    return (await this.#json<{ hit: Hit }>(`/events/${encodeURIComponent(id)}`, signal)).hit;
  }

  context(id: string, before: number, after: number, signal: AbortSignal): Promise<ContextReply> {
    return this.#json(`/context?${params({ id, before: String(before), after: String(after) })}`, signal);
  }

  trace(traceId: string, signal: AbortSignal): Promise<TraceReply> {
    return this.#json(`/traces/${encodeURIComponent(traceId)}?limit=${TRACE_EVENTS_MAX}`, signal);
  }

  pipeline(signal: AbortSignal): Promise<PipelineReply> {
    return this.#json("/pipeline", signal);
  }

  /** Sends dead letters back to their topics: those at these places, `PARTITION:OFFSET`, or all. */
  redrive(letters: readonly string[] | "all", signal: AbortSignal): Promise<RedriveReply> {
    return this.#json("/dead-letters/redrive", signal, posted(letters === "all" ? { all: true } : { letters }));
  }

  /** The live tail's stream, after the event that `lastId` names. */
  tail(q: string, lastId: string, signal: AbortSignal): Promise<Response> {
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (lastId !== "") headers["last-event-id"] = lastId;
    return this.#ask(`/tail?${params({ q })}`, signal, { headers });
  }

  /** The address of an export, for a link. */
  exportAddress(query: Query, sort: Sort, format: "ndjson" | "csv", fields: readonly string[]): string {
    const columns = format === "csv" ? fields.join(",") : "";
    return `${BASE}/export?${params({ format, ...wanted(query), sort, fields: columns })}`;
  }

  async #json<T>(path: string, signal: AbortSignal, init: RequestInit = {}): Promise<T> {
    return read(await this.#ask(path, signal, init), signal);
  }

  /** A request that comes from nobody any more is sent again after the sign-in; who asked knows nothing of it. */
  async #ask(path: string, signal: AbortSignal, init: RequestInit): Promise<Response> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await ask(path, signal, init);
      } catch (error) {
        const status = error instanceof Problem ? error.status : 0;
        if (status === 403) this.gate.lacking();
        if (status !== 401 || tries === TRIES_MAX) throw error;
        await this.gate.signedIn(signal);
      }
    }
  }
}

async function ask(path: string, signal: AbortSignal, init: RequestInit = {}): Promise<Response> {
  let reply: Response;
  try {
    reply = await fetch(BASE + path, { ...init, signal, credentials: "same-origin" });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Problem(0, "unreachable", "No reply", "The query API cannot be reached. Is it running, and are you online?", null, null);
  }
  if (reply.ok) return reply;
  throw await problemOf(reply);
}

async function read<T>(reply: Response, signal: AbortSignal): Promise<T> {
  try {
    return (await reply.json()) as T;
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Problem(reply.status, "unreadable_reply", "Unreadable reply", "The reply broke off or is no JSON.", null, null);
  }
}

function posted(body: object): RequestInit {
  return { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}

function wanted(query: Query): { q: string; from: string; to: string } {
  return { q: query.q, from: query.from, to: query.to };
}

/** Leaves out what is empty. */
function params(values: Record<string, string>): string {
  return new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "")).toString();
}

async function problemOf(reply: Response): Promise<Problem> {
  const body: unknown = await reply.json().catch(() => null);
  const at = (name: string): unknown => (typeof body === "object" && body !== null ? (body as Record<string, unknown>)[name] : undefined);
  const text = (name: string, otherwise: string): string => {
    const value = at(name);
    return typeof value === "string" && value !== "" ? value : otherwise;
  };
  const column = at("column");
  const seconds = Number(reply.headers.get("retry-after") ?? "");
  return new Problem(
    reply.status,
    text("code", `http_${reply.status}`),
    text("title", reply.statusText || "The request was refused"),
    text("detail", `The query API answered ${reply.status}.`),
    typeof column === "number" ? column : null,
    reply.headers.has("retry-after") && Number.isFinite(seconds) ? Math.max(1, Math.ceil(seconds)) : null,
  );
}

/** What went wrong, or null if it was only cancelled. */
export function asProblem(error: unknown): Problem | null {
  if (error instanceof Problem) return error;
  if (error instanceof DOMException && error.name === "AbortError") return null;
  const detail = error instanceof Error ? error.message : String(error);
  return new Problem(0, "page_error", "The page failed", detail, null, null);
}
