//! What this process logs, for tests that run the product's parts in it.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("lines").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        self.clone()
    }
}

/// What was logged since it began; one test at a time listens. A line at ERROR fails the test, unless the test names it.
pub struct Log {
    lines: Lines,
    expected: Vec<&'static str>,
    _alone: MutexGuard<'static, ()>,
}

impl Log {
    /// Listens to everything that the product says, however detailed.
    pub fn start() -> Log {
        static LINES: OnceLock<Lines> = OnceLock::new();
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let lines = LINES.get_or_init(|| {
            let lines = Lines::default();
            let filter = EnvFilter::new("roomcast=trace,recorder_core=trace");
            tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(lines.clone()).init();
            lines
        });
        lines.0.lock().expect("lines").clear();
        Log { lines: lines.clone(), expected: Vec::new(), _alone: alone }
    }

    /// A line at ERROR with these words is what the test is about.
    pub fn expects(&mut self, words: &'static str) {
        self.expected.push(words);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.lines.0.lock().expect("lines")).into_owned()
    }

    /// Something was said.
    pub fn holds(&self, words: &str) {
        let text = self.text();
        assert!(text.contains(words), "{words:?} was not said:\n{text}");
    }

    /// None of these was ever written.
    pub fn holds_none_of(&self, secrets: &[&str]) {
        let text = self.text();
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "a secret was logged");
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let text = self.text();
        let is_expected = |line: &&str| self.expected.iter().any(|words| line.contains(words));
        let error = text.lines().find(|line| line.contains(" ERROR ") && !is_expected(line));
        assert!(error.is_none() || std::thread::panicking(), "{error:?}");
    }
}
