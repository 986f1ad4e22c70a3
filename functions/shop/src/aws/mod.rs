//! AWS clients: where they find their settings, how they are built, and what their failures mean.

mod clients;
mod failures;
mod variables;

pub use clients::{Aws, prime};
pub use failures::end_environment;
pub use variables::{StartError, required};
