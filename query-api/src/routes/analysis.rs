//! What is asked about events beside the events themselves: each handler asks
//! once or twice and lets a pure file read the reply.
//!
//! In the flow: `routes` → **`routes::analysis`** → `histogram`, `fields`, `facets`, `surroundings`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;

use super::access::View;
use super::{App, query_of, reply_of};
use crate::error::{Code, Problem};
use crate::es_query::Bounded;
use crate::facets::FacetsRequest;
use crate::fields;
use crate::histogram::{self, Buckets, HistogramRequest};
use crate::search_request::Sort;
use crate::surroundings::{self, Context, ContextRequest, EventReply, Place, Trace};

type Reply = Result<Response, Problem>;

pub(super) async fn histogram(State(app): State<Arc<App>>, view: View, uri: Uri) -> Reply {
    let bound = app.range_bound();
    let HistogramRequest {
        mut selection,
        buckets,
    } = HistogramRequest::read(query_of(&uri), bound)?;
    if selection.range.start.is_none() || selection.range.end.is_none() {
        let ask = |engine, bounded| histogram::ends(engine, &selection, bounded);
        let ends = view.searcher.ask(1, ask).await?;
        let (found, _) = view.searcher.read(&ends)?;
        let closed = histogram::close(selection.range, &found, bound.now);
        selection.range = closed.map_err(|error| view.searcher.unreadable(error))?;
    }
    let buckets = Buckets::of(selection.range, buckets);
    let ask = |engine, bounded| buckets.search(engine, &selection, bounded);
    let reply = view.searcher.ask(1, ask).await?;
    let (found, partial) = view.searcher.read(&reply)?;
    let histogram = histogram::reply(selection.range, buckets, &found, partial);
    Ok(reply_of(
        &histogram.map_err(|error| view.searcher.unreadable(error))?,
    ))
}

pub(super) async fn fields(State(app): State<Arc<App>>, view: View, uri: Uri) -> Reply {
    let selection = fields::read(query_of(&uri), app.range_bound())?;
    let ask = |engine, bounded| fields::search(&selection, engine, bounded);
    let reply = view.searcher.ask(1, ask).await?;
    let (found, partial) = view.searcher.read(&reply)?;
    Ok(reply_of(&fields::reply(&found, partial)))
}

pub(super) async fn facets(State(app): State<Arc<App>>, view: View, uri: Uri) -> Reply {
    let request = FacetsRequest::read(query_of(&uri), app.range_bound())?;
    let ask = |engine, bounded| request.search(engine, bounded);
    let reply = view.searcher.ask(1, ask).await?;
    let (found, partial) = view.searcher.read(&reply)?;
    let facets = request.reply(&found, partial);
    Ok(reply_of(
        &facets.map_err(|error| view.searcher.unreadable(error))?,
    ))
}

pub(super) async fn event(view: View, Path(id): Path<String>) -> Reply {
    surroundings::check_id(&id)?;
    let ask = |engine, bounded| surroundings::find(&id, engine, bounded);
    let reply = view.searcher.ask(1, ask).await?;
    let (found, _) = view.searcher.read(&reply)?;
    let hit = found.hits().next().ok_or_else(|| no_event(&id))?;
    Ok(reply_of(&EventReply { hit }))
}

pub(super) async fn context(view: View, uri: Uri) -> Reply {
    let request = ContextRequest::read(query_of(&uri))?;
    let ask = |engine, bounded| surroundings::find(&request.id, engine, bounded);
    let event = view.searcher.ask(1, ask).await?;
    let (event, mut partial) = view.searcher.read(&event)?;
    let hit = event.hits().next().ok_or_else(|| no_event(&request.id))?;
    let place = hit.event.map(Place::of).unwrap_or_default();
    let bodies = view
        .searcher
        .both(|engine, bounded| place.searches(&request, engine, bounded));
    let Some([before, after]) = bodies.await? else {
        return Ok(reply_of(&Context::new(hit, place.resource, None, partial)));
    };
    let (before, before_partial) = view.searcher.read(&before)?;
    let (after, after_partial) = view.searcher.read(&after)?;
    partial.extend(before_partial.into_iter().chain(after_partial));
    let neighbours = Some([&before, &after]);
    Ok(reply_of(&Context::new(
        hit,
        place.resource,
        neighbours,
        partial,
    )))
}

pub(super) async fn trace(view: View, Path(trace_id): Path<String>, uri: Uri) -> Reply {
    let (selection, limit) = surroundings::read_trace(&trace_id, query_of(&uri))?;
    let ask = |engine, bounded: Bounded| bounded.hits(engine, &selection, Sort::Oldest, limit);
    let reply = view.searcher.ask(1, ask).await?;
    let (found, partial) = view.searcher.read(&reply)?;
    Ok(reply_of(&Trace::new(&found, partial)))
}

fn no_event(id: &str) -> Problem {
    let id: String = id.chars().take(64).collect();
    let detail =
        format!("there is no event `{id}`; it may be too new to be indexed, or too old to be kept");
    Problem::new(Code::NotFound, detail)
}
