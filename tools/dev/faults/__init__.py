"""The parts of tools.dev.fault_campaign: killed trainings, disk faults, damaged inputs."""
