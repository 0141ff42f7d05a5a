//! Every path that is served: as the router spells it, and as the metrics count it.
//!
//! In the flow: part of `routes`.

use service::access::Scope;

/// Every path that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /`: the explorer page, and the files that it is made of.
    Page,
    /// `GET /app.js`.
    PageScript,
    /// `GET /app.css`.
    PageStyle,
    /// `GET /icon.svg`.
    PageIcon,
    /// `GET /docs`: the API for people.
    Docs,
    /// `GET /docs.css`.
    DocsStyle,
    /// `GET /logs`.
    Logs,
    /// `POST /api/v1/search`.
    Search,
    /// `GET /api/v1/histogram`.
    Histogram,
    /// `GET /api/v1/fields`.
    Fields,
    /// `GET /api/v1/facets`.
    Facets,
    /// `GET /api/v1/events/{id}`.
    Event,
    /// `GET /api/v1/context`.
    Context,
    /// `GET /api/v1/traces/{traceId}`.
    Trace,
    /// `GET /api/v1/export`.
    Export,
    /// `GET /api/v1/tail`.
    Tail,
    /// `GET /api/v1/pipeline`.
    Pipeline,
    /// `GET /elasticsearch/`: what it is.
    PassRoot,
    /// `GET /elasticsearch/_cluster/health`.
    PassHealth,
    /// `POST /elasticsearch/_msearch`.
    PassMultiSearch,
    /// `/elasticsearch/_search`, with and without an index.
    PassSearch,
    /// `/elasticsearch/_count`, with and without an index.
    PassCount,
    /// `/elasticsearch/_mapping`, with and without an index.
    PassMapping,
    /// `/elasticsearch/_field_caps`, with and without an index.
    PassFieldCaps,
    /// `POST /api/v1/dead-letters/redrive`.
    Redrive,
    /// `/api/v1/session`: who the caller is, sign in, sign out.
    Session,
    /// `GET /openapi.json`.
    OpenApi,
    /// `GET /healthz`.
    Healthz,
    /// `GET /readyz`.
    Readyz,
    /// `GET /metrics`.
    Metrics,
    /// Any other path.
    Unknown,
}

impl Route {
    /// All of them, for the metrics and the documentation.
    pub const ALL: [Self; 31] = [
        Self::Page,
        Self::PageScript,
        Self::PageStyle,
        Self::PageIcon,
        Self::Docs,
        Self::DocsStyle,
        Self::Logs,
        Self::Search,
        Self::Histogram,
        Self::Fields,
        Self::Facets,
        Self::Event,
        Self::Context,
        Self::Trace,
        Self::Export,
        Self::Tail,
        Self::Pipeline,
        Self::PassRoot,
        Self::PassHealth,
        Self::PassMultiSearch,
        Self::PassSearch,
        Self::PassCount,
        Self::PassMapping,
        Self::PassFieldCaps,
        Self::Redrive,
        Self::Session,
        Self::OpenApi,
        Self::Healthz,
        Self::Readyz,
        Self::Metrics,
        Self::Unknown,
    ];

    /// The route at a path of the router.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|route| route.label() == path)
    }

    /// What a caller's key must allow; `None`: everybody may.
    #[must_use]
    pub fn scope(self) -> Option<Scope> {
        match self {
            Self::Page
            | Self::PageScript
            | Self::PageStyle
            | Self::PageIcon
            | Self::Session
            | Self::Healthz
            | Self::Readyz
            | Self::Metrics
            | Self::Unknown => None,
            Self::Docs
            | Self::DocsStyle
            | Self::OpenApi
            | Self::Logs
            | Self::Search
            | Self::Histogram
            | Self::Fields
            | Self::Facets
            | Self::Event
            | Self::Context
            | Self::Trace
            | Self::Pipeline
            | Self::PassRoot
            | Self::PassHealth
            | Self::PassMultiSearch
            | Self::PassSearch
            | Self::PassCount
            | Self::PassMapping
            | Self::PassFieldCaps => Some(Scope::Query),
            Self::Export => Some(Scope::Export),
            Self::Tail => Some(Scope::Tail),
            Self::Redrive => Some(Scope::Admin),
        }
    }

    /// As in the metrics, and as in the router except for the last.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.paths().first().copied().unwrap_or("unknown")
    }

    /// Where it is served, as the documentation spells it.
    #[must_use]
    pub fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Page => &["/"],
            Self::PageScript => &["/app.js"],
            Self::PageStyle => &["/app.css"],
            Self::PageIcon => &["/icon.svg"],
            Self::Docs => &["/docs"],
            Self::DocsStyle => &["/docs.css"],
            Self::Logs => &["/logs"],
            Self::Search => &["/api/v1/search"],
            Self::Histogram => &["/api/v1/histogram"],
            Self::Fields => &["/api/v1/fields"],
            Self::Facets => &["/api/v1/facets"],
            Self::Event => &["/api/v1/events/{id}"],
            Self::Context => &["/api/v1/context"],
            Self::Trace => &["/api/v1/traces/{traceId}"],
            Self::Export => &["/api/v1/export"],
            Self::Tail => &["/api/v1/tail"],
            Self::Pipeline => &["/api/v1/pipeline"],
            Self::PassRoot => &["/elasticsearch/"],
            Self::PassHealth => &["/elasticsearch/_cluster/health"],
            Self::PassMultiSearch => &["/elasticsearch/_msearch"],
            Self::PassSearch => &["/elasticsearch/_search", "/elasticsearch/{index}/_search"],
            Self::PassCount => &["/elasticsearch/_count", "/elasticsearch/{index}/_count"],
            Self::PassMapping => &["/elasticsearch/_mapping", "/elasticsearch/{index}/_mapping"],
            Self::PassFieldCaps => &[
                "/elasticsearch/_field_caps",
                "/elasticsearch/{index}/_field_caps",
            ],
            Self::Redrive => &["/api/v1/dead-letters/redrive"],
            Self::Session => &["/api/v1/session"],
            Self::OpenApi => &["/openapi.json"],
            Self::Healthz => &["/healthz"],
            Self::Readyz => &["/readyz"],
            Self::Metrics => &["/metrics"],
            Self::Unknown => &[],
        }
    }
}
