"""What is measured on a face without a network, in reading order: tracking, registration, flow, spotting."""
