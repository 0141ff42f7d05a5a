// Holds the view and what the API answered to it: a new view starts its search at once and cancels the one before.
//
// In the flow: `api` → **`explorer.svelte`** → `components`. The address is the only state; everything else follows from it.

import { asProblem, type Api, type Problem } from "./api";
import type { FacetReply, Field, HistogramReply, Hit, PartialReason, Query, Total } from "./api_types";
import { endBefore, pin, type Range } from "./time_range";
import { startOf } from "./histogram_layout";
import { readView, searchKey, writeView, type View } from "./url_state";

/** The first page is small, so that it is there soon; the next ones are large, so that scrolling rarely waits. */
const FIRST_PAGE = 100;
const NEXT_PAGE = 500;
/** How many hits the page holds; beyond them an export serves better than scrolling. */
export const HITS_MAX = 20_000;
/** How long the hits have the cluster for themselves; where they take longer, the histogram is not to take as long again after them. */
const HITS_ALONE_MS = 500;
const FACET_SIZE = 10;
const FACET_SIZE_MORE = 50;

export interface Results {
  hits: Hit[];
  total: Total | null;
  took_ms: number | null;
  cursor: string | null;
  /** What the first page searched: a relative range has moved when the next page is asked for. */
  range: { from: string | null; to: string | null };
  loading: boolean;
  loadingMore: boolean;
  problem: Problem | null;
  /** Why the next page did not come. */
  moreProblem: Problem | null;
  reasons: PartialReason[];
  /** Whether a reply has come since the page was opened. */
  answered: boolean;
}

export interface Facet {
  reply: FacetReply | null;
  loading: boolean;
  problem: Problem | null;
  prefix: string;
  more: boolean;
  /** The number of the search that it belongs to. */
  run: number;
}

const NOTHING: Results = {
  hits: [],
  total: null,
  took_ms: null,
  cursor: null,
  range: { from: null, to: null },
  loading: false,
  loadingMore: false,
  problem: null,
  moreProblem: null,
  reasons: [],
  answered: false,
};

/** What the browser's history keeps beside the address. */
interface Entry {
  /** The ranges to which the way out of a zoom leads back, the latest last. */
  zooms: Range[];
}

export class Explorer {
  view = $state.raw<View>(readView(location.search));
  zooms = $state.raw<Range[]>([]);
  results = $state.raw<Results>(NOTHING);
  histogram = $state.raw<HistogramReply | null>(null);
  histogramProblem = $state.raw<Problem | null>(null);
  fields = $state.raw<Field[]>([]);
  facets = $state.raw<Record<string, Facet>>({});
  /** The row that the keyboard is at. */
  selected = $state(-1);

  #search = new AbortController();
  #facetRequests = new Map<string, AbortController>();
  #runs = 0;
  /** What the latest search looked for. */
  #ranKey: string | null = null;

  constructor(readonly api: Api) {
    this.zooms = readEntry(history.state).zooms;
    addEventListener("popstate", (event) => this.#show(readView(location.search), readEntry(event.state).zooms));
  }

  get query(): Query {
    return { q: this.view.q, from: this.view.range.from, to: this.view.range.to };
  }

  /** Changes the view. What changes the hits, the page or the panel is a step that Back undoes. */
  go(change: Partial<View>, zooms: Range[] = "range" in change ? [] : this.zooms): void {
    const before = this.view;
    const view = { ...before, ...change };
    const step = searchKey(view) !== searchKey(before) || view.page !== before.page || view.panel?.id !== before.panel?.id || view.panel?.kind !== before.panel?.kind;
    // Details belong to the hits they were opened in.
    if (searchKey(view) !== searchKey(before) && !("event" in change)) view.event = null;
    const address = writeView(view);
    const entry: Entry = { zooms };
    const target = location.pathname + (address ? `?${address}` : "");
    if (step) history.pushState(entry, "", target);
    else history.replaceState(entry, "", target);
    this.#show(view, zooms);
  }

  /** The same search again, up to the present moment. */
  refresh(): void {
    this.#run();
  }

  /** Runs what the address states, when the page opens. */
  start(): void {
    this.#show(this.view, this.zooms);
  }

  #show(view: View, zooms: Range[]): void {
    this.view = view;
    this.zooms = zooms;
    if (view.page !== "explore") return;
    if (searchKey(view) !== this.#ranKey) this.#run();
    else if (!this.results.loading) this.#loadFacets();
  }

  zoomTo(range: Range): void {
    this.go({ range }, [...this.zooms, this.view.range].slice(-20));
  }

  undoZoom(): void {
    const range = this.zooms.at(-1);
    if (range) this.go({ range }, this.zooms.slice(0, -1));
  }

  zoomToBuckets(first: number, last: number): void {
    const buckets = this.histogram?.buckets ?? [];
    const from = startOf(buckets, first);
    const end = startOf(buckets, last);
    if (from === null || end === null || !this.histogram) return;
    this.zoomTo({ from: new Date(from).toISOString(), to: endBefore(end + this.histogram.interval_ms) });
  }

  /** The view with a range that does not move, as the server saw it. */
  pinned(): View {
    const { from, to } = this.view.range;
    const range = pin(this.view.range, Date.now());
    const seen = this.histogram && !this.results.loading ? this.histogram : null;
    return {
      ...this.view,
      range: {
        from: from.startsWith("now") && seen && !Number.isNaN(Date.parse(seen.from)) ? new Date(seen.from).toISOString() : range.from,
        to: to.startsWith("now") && seen && !Number.isNaN(Date.parse(seen.to)) ? new Date(seen.to).toISOString() : range.to,
      },
    };
  }

  #run(): void {
    this.#search.abort();
    const search = new AbortController();
    this.#search = search;
    this.#runs += 1;
    this.#ranKey = searchKey(this.view);
    this.selected = -1;
    this.results = { ...this.results, loading: true, loadingMore: false, cursor: null, problem: null, moreProblem: null };
    // What is seen first is asked first, and the rest when it is seen: all of it at once is more work than a small cluster
    // has cores for, and the hits would come last.
    const hits = this.#searchFirst(search.signal);
    const seen = hits.then(drawn);
    void Promise.race([seen, after(HITS_ALONE_MS)]).then(() => {
      if (!search.signal.aborted) void this.#loadHistogram(search.signal);
    });
    void seen.then(async () => {
      if (!(await hits) || search.signal.aborted) return;
      void this.#loadFields(search.signal);
      this.#loadFacets();
    });
  }

  async #searchFirst(signal: AbortSignal): Promise<boolean> {
    try {
      const reply = await this.api.search(this.query, this.view.sort, FIRST_PAGE, null, signal);
      // A newer search may have begun just after the answer came.
      if (signal.aborted) return false;
      this.results = {
        ...NOTHING,
        hits: reply.hits,
        total: reply.total,
        took_ms: reply.took_ms,
        cursor: reply.next_cursor,
        range: { from: reply.from, to: reply.to },
        reasons: reply.partial ? reply.partial_reasons : [],
        answered: true,
      };
      return true;
    } catch (error) {
      const problem = asProblem(error);
      if (problem && !signal.aborted) this.results = { ...this.results, loading: false, problem, answered: true };
      return false;
    }
  }

  async loadMore(): Promise<void> {
    const { cursor, range, loading, loadingMore, hits } = this.results;
    if (cursor === null || loading || loadingMore || hits.length >= HITS_MAX) return;
    const { signal } = this.#search;
    this.results = { ...this.results, loadingMore: true, moreProblem: null };
    try {
      const limit = Math.min(NEXT_PAGE, HITS_MAX - hits.length);
      const query = { ...this.query, from: range.from ?? "", to: range.to ?? "" };
      const reply = await this.api.search(query, this.view.sort, limit, cursor, signal);
      if (signal.aborted) return;
      this.results = {
        ...this.results,
        hits: [...this.results.hits, ...reply.hits],
        cursor: reply.next_cursor,
        loadingMore: false,
        reasons: reply.partial ? reply.partial_reasons : this.results.reasons,
      };
    } catch (error) {
      const problem = asProblem(error);
      if (problem && !signal.aborted) this.results = { ...this.results, loadingMore: false, moreProblem: problem };
    }
  }

  async #loadHistogram(signal: AbortSignal): Promise<void> {
    try {
      this.histogram = await this.api.histogram(this.query, signal);
      this.histogramProblem = null;
    } catch (error) {
      const problem = asProblem(error);
      if (problem && !signal.aborted) this.histogramProblem = problem;
    }
  }

  async #loadFields(signal: AbortSignal): Promise<void> {
    try {
      this.fields = (await this.api.fields(this.query, signal)).fields;
    } catch {
      // The list of fields is a help; the one before still serves.
    }
  }

  /** Asks for the open facets that this search does not know yet. */
  #loadFacets(): void {
    for (const field of this.view.facets) {
      const known = this.facets[field];
      if (known?.run !== this.#runs) void this.loadFacet(field, known?.prefix ?? "", known?.more ?? false);
    }
  }

  async loadFacet(field: string, prefix: string, more: boolean): Promise<void> {
    this.#facetRequests.get(field)?.abort();
    const request = new AbortController();
    this.#facetRequests.set(field, request);
    const set = (change: Partial<Facet>): void => {
      const before = this.facets[field] ?? { reply: null, loading: false, problem: null, prefix, more, run: this.#runs };
      this.facets = { ...this.facets, [field]: { ...before, ...change } };
    };
    set({ loading: true, prefix, more, run: this.#runs });
    try {
      const reply = await this.api.facet(this.query, field, more ? FACET_SIZE_MORE : FACET_SIZE, prefix, request.signal);
      set({ reply, loading: false, problem: null });
    } catch (error) {
      const problem = asProblem(error);
      if (problem && !request.signal.aborted) set({ loading: false, problem });
    }
  }
}

const after = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** When what was just set has been drawn; a page that nobody sees draws nothing, so that is not waited for. */
function drawn(): Promise<void> {
  if (document.hidden) return Promise.resolve();
  // The task after a frame begins when that frame is drawn.
  return new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
}

function readEntry(state: unknown): Entry {
  const zooms = typeof state === "object" && state !== null ? (state as Partial<Entry>).zooms : undefined;
  return { zooms: Array.isArray(zooms) ? zooms : [] };
}
