#pragma once

void pin_name_services(void);
