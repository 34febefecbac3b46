"""How are many runs trained? In this process, in several, or on Ray; and the grid search.

The parts. A `Material` is what the runs of a study share: pictures, pretrained tensors, device (`material`). A `Plan` is the
runs that a question needs, each with its folder, and may be made and counted without training (`plan`). `study.train` has a
plan's missing runs trained: a `Queue` (`dispatch`) reserves them, hands them to an executor, tries again those whose process
died, and shows all of it on a `Board` (`board`). There are three executors: `InProcess` (`in_process`), `Processes`
(`processes`) and `Cluster` (`on_ray`). Each of them calls `in_process.attempt`, the one place where a run is trained, and
gives back an `Outcome`: finished, failed, lost with its process, or stopped. The grid search (`grid`) is one more plan.
"""
