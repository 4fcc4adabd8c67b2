//! Classification metrics, defined once.
