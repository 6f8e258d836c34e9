//! Style as a test: sizes, purity, directions of dependencies, plain words, documents. Needs no cluster.
//!
//! A rule that hurts is changed here, in the open, not worked around. Each rule has a test that plants an offender.

mod chart;
mod chart_kind;
mod circles;
mod clones;
mod commands;
mod documents;
mod etcd_tests;
mod lexer;
mod modules;
mod nextest;
mod porcupine;
mod published;
mod pulled;
mod purity;
mod release;
mod sizes;
mod subjects;
mod tree;
mod words;
mod workflows;
