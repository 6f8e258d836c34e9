//! Lets a running program see another time than the machine: the function by which it asks for the time, which the
//! kernel maps into each process (`[vdso]`), is overwritten in that process by one that adds an offset, or runs at
//! another rate.
//!
//! Go asks for the time by `clock_gettime` alone, so that the other functions there stay as they are. The function as
//! it was is in this process, too: what was changed is seen, and undone, by whichever process comes later.

mod code;
mod date;
mod deadline;
mod elf;
mod image;
mod rate;
mod run;
mod stopped;

pub(crate) use run::Command;
