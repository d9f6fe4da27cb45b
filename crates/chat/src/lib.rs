//! One turn of a conversation, and the queue that serves many.
