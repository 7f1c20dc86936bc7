//! Launch texts and the graphs made of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::sync::{Arc, Once};

use gstreamer as gst;
use gstreamer::prelude::*;

/// A graph as text. The text holds no user data; values are set as properties on named elements afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    name: &'static str,
    text: &'static str,
    /// How much lower than reception its threads stand.
    below: i32,
}

/// Why a graph cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// GStreamer itself does not start.
    #[error("GStreamer does not start")]
    Init(#[source] gst::glib::Error),
    /// Elements that this machine lacks.
    #[error("GStreamer elements are missing: {}", .0.join(", "))]
    Missing(Vec<&'static str>),
    /// The text is not a graph.
    #[error("the graph {name} cannot be made")]
    Parse {
        /// Name of the template.
        name: &'static str,
        /// What GStreamer says.
        #[source]
        source: gst::glib::Error,
    },
    /// The text lacks an element that the code relies on.
    #[error("the graph {graph} has no element {element}")]
    NoElement {
        /// Name of the template.
        graph: &'static str,
        /// Name of the element.
        element: &'static str,
    },
    /// The graph refuses to run.
    #[error("the graph {0} does not start")]
    State(&'static str, #[source] gst::StateChangeError),
    /// The graph does not take data any more.
    #[error("the graph {0} takes no more data")]
    Flow(&'static str),
    /// A size or rate that the graph cannot work with.
    #[error("the graph {0} cannot work with these settings")]
    Settings(&'static str),
}

/// What a running graph reported on its bus.
#[derive(Debug, Clone)]
pub struct GraphFault {
    /// Name of the template.
    pub graph: &'static str,
    /// Name of the element.
    pub element: String,
    /// GStreamer's error, without debug details (which may hold addresses).
    pub message: String,
}

/// One running pipeline with one owner. Dropping it sets it to NULL; never drop it on one of its own streaming threads.
pub struct Graph {
    name: &'static str,
    pipeline: gst::Pipeline,
    faults: Receiver<GraphFault>,
    broken: Arc<AtomicBool>,
}

/// How much lower (in nice values) the threads that code pictures stand, so that reception and sound go first on a full machine.
const PICTURES_BELOW: i32 = 5;

impl Template {
    /// A template; `text` is the content of the file `pipelines/NAME.launch`.
    pub const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text, below: PICTURES_BELOW }
    }

    /// For sound: its threads go first, as those of reception do.
    pub const fn first(self) -> Self {
        Self { below: 0, ..self }
    }

    /// The file name without `.launch`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Names of the element factories that the text uses and this machine lacks.
    ///
    /// # Errors
    /// GStreamer does not start.
    pub fn missing(&self) -> Result<Vec<&'static str>, GraphError> {
        init()?;
        Ok(self.factories().filter(|factory| gst::ElementFactory::find(factory).is_none()).collect())
    }

    /// Makes the graph, not yet running.
    ///
    /// # Errors
    /// Missing elements, or a text that is not a graph.
    pub fn build(&self) -> Result<Graph, GraphError> {
        let missing = self.missing()?;
        if !missing.is_empty() {
            return Err(GraphError::Missing(missing));
        }
        let element = gst::parse::launch(&self.launch_text()).map_err(|source| GraphError::Parse { name: self.name, source })?;
        let pipeline =
            element.downcast::<gst::Pipeline>().map_err(|_| GraphError::NoElement { graph: self.name, element: "pipeline" })?;
        let broken = Arc::default();
        let faults = watch(self.name, self.below, &pipeline, Arc::clone(&broken))?;
        Ok(Graph { name: self.name, pipeline, faults, broken })
    }

    fn launch_text(&self) -> String {
        self.text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n")
    }

    /// The first word of each link of the chain; caps have a slash, references a dot.
    fn factories(&self) -> impl Iterator<Item = &'static str> {
        self.text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .flat_map(|line| line.split(" ! ").flat_map(|part| part.split("! ")))
            .filter_map(|part| part.split_whitespace().next())
            .filter(|word| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !word.is_empty())
    }
}

impl Graph {
    /// The element of this name and type.
    ///
    /// # Errors
    /// There is none.
    pub fn element<T: IsA<gst::Element>>(&self, element: &'static str) -> Result<T, GraphError> {
        self.pipeline
            .by_name(element)
            .and_then(|found| found.downcast::<T>().ok())
            .ok_or(GraphError::NoElement { graph: self.name, element })
    }

    /// Starts it.
    ///
    /// # Errors
    /// The graph refuses to run.
    pub fn play(&self) -> Result<(), GraphError> {
        self.pipeline.set_state(gst::State::Playing).map(|_| ()).map_err(|e| GraphError::State(self.name, e))
    }

    /// Set from the first fault on; for threads that cannot own the graph.
    pub(super) fn broken(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.broken)
    }

    /// The next fault reported, if there is one; never waits.
    pub fn poll_fault(&self) -> Option<GraphFault> {
        self.faults.try_recv().ok()
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!(graph = self.name, "graph could not be stopped");
        }
    }
}

/// Checks all templates at once, so that a machine that lacks elements says so at start, with the complete list.
///
/// # Errors
/// GStreamer does not start, or elements are missing.
pub fn check_all(templates: &[Template]) -> Result<(), GraphError> {
    let mut missing = Vec::new();
    for template in templates {
        missing.extend(template.missing()?);
    }
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() { Ok(()) } else { Err(GraphError::Missing(missing)) }
}

fn init() -> Result<(), GraphError> {
    static LOG: Once = Once::new();
    gst::init().map_err(GraphError::Init)?;
    LOG.call_once(|| {
        // Warnings of GStreamer go through our subscriber; its own output to stderr would bypass level and format.
        gst::log::remove_default_log_function();
    });
    Ok(())
}

/// Turns bus messages into faults. The sync handler runs on the thread that posted: for stream-status messages that is the streaming
/// thread itself, which is how it gets its nice value.
fn watch(
    name: &'static str,
    below: i32,
    pipeline: &gst::Pipeline,
    broken: Arc<AtomicBool>,
) -> Result<Receiver<GraphFault>, GraphError> {
    let (sender, receiver) = sync_channel(16);
    let bus = pipeline.bus().ok_or(GraphError::NoElement { graph: name, element: "bus" })?;
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::StreamStatus(status) if status.get().0 == gst::StreamStatusType::Enter => lower_this_thread(below),
            gst::MessageView::Error(error) => {
                let element = error.src().map(|s| s.name().to_string()).unwrap_or_default();
                let fault = GraphFault { graph: name, element, message: error.error().message().to_owned() };
                if let Err(TrySendError::Full(fault)) = sender.try_send(fault) {
                    tracing::warn!(graph = name, element = fault.element, "more faults of a graph than its owner reads");
                }
                broken.store(true, Ordering::Release);
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
    Ok(receiver)
}

/// Puts the calling thread so many nice values below the process's first thread, also when somebody has started us with a nice value.
pub(crate) fn lower_this_thread(below: i32) {
    // SAFETY: both take plain integers; for threads Linux applies PRIO_PROCESS to one thread, 0 means the calling one.
    let failed = unsafe {
        let first = libc::getpriority(libc::PRIO_PROCESS, std::process::id());
        libc::setpriority(libc::PRIO_PROCESS, 0, first + below) != 0
    };
    if failed {
        tracing::debug!(below, "a thread keeps its priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_element_is_named() {
        let template = Template::new("broken", "# no such thing\nfakesrc name=a ! nosuchelement name=b ! fakesink");
        match template.build() {
            Err(GraphError::Missing(names)) => assert_eq!(names, ["nosuchelement"]),
            other => panic!("expected a list of missing elements, got {:?}", other.map(|_| ())),
        }
    }

    #[test]
    fn a_running_graph_reports_its_fault() {
        let template = Template::new(
            "failing",
            "videotestsrc num-buffers=1 ! video/x-raw,width=16,height=16 ! filesink location=/nonexistent/x",
        );
        let graph = template.build().unwrap();
        assert!(graph.play().is_err() || graph.faults.recv().is_ok());
        let _ = graph.poll_fault();
    }
}
