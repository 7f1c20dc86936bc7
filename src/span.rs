//! Lets log lines of any thread say which Session they belong to.
//!
//! In: the work of a new thread or task. Out: the same work inside the span of whoever starts it. Spans: `session` with `session.id`, in it `target` with
//! `target.id` and the take. It refuses to name people: a Track's id holds an identity, so no span carries one.

use tracing::Span;

/// `work`, to be run on another thread inside the span that is entered here and now.
pub(crate) fn carried<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let span = Span::current();
    move || span.in_scope(work)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::carried;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_of_another_thread_names_the_session() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let dispatch = tracing::Dispatch::new(subscriber);
        tracing::dispatcher::with_default(&dispatch, || {
            let session = tracing::info_span!("session", session.id = "standup");
            let work = session.in_scope(|| carried(|| tracing::info!("recording")));
            let elsewhere = dispatch.clone();
            std::thread::spawn(move || tracing::dispatcher::with_default(&elsewhere, work)).join().unwrap();
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("session{session.id=\"standup\"}: ") && text.contains("recording"), "{text}");
    }
}
