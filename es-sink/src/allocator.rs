//! Keeps what glibc holds of freed memory within the sink's limit (EO-6).
//!
//! Called before anything else in the flow: `main` → **`allocator`** → `config`.
//! glibc gives threads that allocate at the same time arenas of their own, up to eight for each
//! core, and an arena keeps what its threads have freed. With the threads of two librdkafka
//! clients this came to a quarter of the default limit.
#![cfg_attr(
    target_env = "gnu",
    expect(
        unsafe_code,
        reason = "glibc takes this setting by a call or from the environment alone"
    )
)]

/// Measured: as fast as without a limit, while two cost up to a tenth.
#[cfg(target_env = "gnu")]
const ARENAS_MAX: libc::c_int = 3;

/// Lets the process have few arenas; to be called before it has a second thread. Elsewhere than on
/// glibc there is nothing to do: musl has no arenas.
pub fn use_few_arenas() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: `mallopt` takes two integers and is called while no other thread is there.
        let taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX) };
        debug_assert_eq!(taken, 1, "glibc knows M_ARENA_MAX since 2.10");
    }
}
