//! SafeTensors, the container of Hugging Face: one file, or a folder of shards.
