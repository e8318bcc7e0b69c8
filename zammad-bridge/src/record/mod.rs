//! What an agent sees of a call, in English and Russian.
