"""The process that registers groups for a server: to plan takes time of an interpreter, which reads of vectors want."""
