"""The server over gRPC: one service (`online.proto`), health and reflection, over the same core as the REST routes.

`online_pb2*` are generated: `python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=.
feature_store/remote/online.proto`. They are checked in, so that a server needs no compiler; a test makes them again.
"""
