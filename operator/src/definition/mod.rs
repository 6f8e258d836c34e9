//! ComponentDefinitions and ComponentVersions.
